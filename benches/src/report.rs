//! Figures with their spread, and how they are printed.

/// The runs of one thing, in any unit.
#[derive(Debug, Default)]
pub struct Runs(Vec<f64>);

impl Runs {
    /// None yet.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a run.
    pub fn add(&mut self, figure: f64) {
        self.0.push(figure);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle run.
    pub fn median(&self) -> f64 {
        self.0.get(self.0.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Lowest and highest run.
    pub fn range(&self) -> (f64, f64) {
        let at = |place: usize| self.0.get(place).copied().unwrap_or(f64::NAN);
        (at(0), at(self.0.len().wrapping_sub(1)))
    }

    /// `2.31 (2.25–2.40)`.
    pub fn show(&self) -> String {
        let (low, high) = self.range();
        format!("{:.2} ({low:.2}–{high:.2})", self.median())
    }
}

/// A heading with an underline.
pub fn heading(text: &str) {
    println!("\n{text}\n{}", "-".repeat(text.chars().count()));
}
