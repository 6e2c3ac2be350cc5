//! How deep and how high a query is nested, while its tokens are read.

/// One open parenthesis or CASE.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) opening: Opening,
    /// Operators of the current expression.
    pub(super) operators: usize,
    /// Height of the highest operand of the current expression.
    pub(super) operand: usize,
    /// Height of the highest finished expression.
    pub(super) height: usize,
    /// Index of its parenthesis in the output.
    pub(super) start: usize,
    /// Index of its last minus between two operands in the output.
    pub(super) minus: Option<usize>,
    /// Index of the first item of its ORDER BY in the output, while that item is read; and in the input.
    pub(super) order: Option<(usize, usize)>,
    /// Commas between its items.
    pub(super) commas: usize,
    /// UNION, EXCEPT and INTERSECT.
    pub(super) set_operators: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opening {
    Query,
    Group,
    Case,
    Cast,
    Extract,
    /// `STEP(`; true once BY was read.
    Step(bool),
    /// `SUBSTRING(`: index of the name in the output.
    Substring(usize),
    /// `STAGGER(`; true once RANGE was read.
    Stagger(bool),
    /// `FLOOR(` or `CEIL(`: index in the output, and what the function is named with TO; None once TO was read.
    Round(Option<(usize, &'static str)>),
}

impl Level {
    pub(super) fn new(opening: Opening) -> Self {
        Self { opening, operators: 0, operand: 0, height: 0, start: 0, minus: None, order: None, commas: 0, set_operators: 0 }
    }

    pub(super) fn root() -> Self {
        Self::new(Opening::Query)
    }

    pub(super) fn end_expression(&mut self) {
        self.height = self.height.max(self.operators + self.operand);
        self.operators = 0;
        self.operand = 0;
    }

    pub(super) fn total(&mut self) -> usize {
        self.end_expression();
        self.height + self.set_operators
    }
}
