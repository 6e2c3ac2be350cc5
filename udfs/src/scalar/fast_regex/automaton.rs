//! A deterministic automaton of a pattern, made by derivatives: the derivative of a pattern by a character matches what may follow
//! that character (Brzozowski, "Derivatives of Regular Expressions", JACM 1964). Intersection costs nothing extra this way.

use std::collections::HashMap;

use super::syntax::Node;

/// Patterns past it take too much memory, and long to compile.
const STATES_MAX: usize = 5_000;
const TERMS_MAX: usize = 200_000;
/// Parts of alternatives put together, well below a second of work.
const WORK_MAX: usize = 2_000_000;
/// The state from which nothing matches.
const DEAD: u32 = u32::MAX;

pub(super) struct Automaton {
    /// The first character of each class of characters that no part of the pattern tells apart; sorted, from 0 on.
    starts: Vec<char>,
    ascii: [u16; 128],
    /// The next state by state and class; the first state is 0.
    next: Vec<u32>,
    accepts: Vec<bool>,
}

impl Automaton {
    pub fn try_new(node: &Node) -> Result<Self, String> {
        let mut starts = vec!['\0'];
        boundaries(node, &mut starts);
        starts.sort_unstable();
        starts.dedup();
        let class_of = |character: char| starts.partition_point(|start| *start <= character) - 1;
        let mut terms = Terms::default();
        let first = terms.of_node(node, &class_of)?;
        let mut states = vec![first];
        let mut numbers = HashMap::from([(first, 0_u32)]);
        let mut next = Vec::new();
        let mut at = 0;
        while let Some(&state) = states.get(at) {
            at += 1;
            for class in 0..starts.len() {
                let term = terms.derivative(state, class as u16)?;
                next.push(if terms.all[term as usize] == Term::Nothing {
                    DEAD
                } else {
                    *numbers.entry(term).or_insert_with(|| {
                        states.push(term);
                        states.len() as u32 - 1
                    })
                });
            }
            if states.len() > STATES_MAX {
                return Err(too_large());
            }
        }
        let accepts = states.iter().map(|state| terms.nullable[*state as usize]).collect();
        let ascii = std::array::from_fn(|character| class_of(char::from(character as u8)) as u16);
        Ok(Self { starts, ascii, next, accepts })
    }

    fn step(&self, state: u32, character: char) -> u32 {
        let class = match self.ascii.get(character as usize) {
            Some(class) => usize::from(*class),
            None => self.starts.partition_point(|start| *start <= character) - 1,
        };
        self.next[state as usize * self.starts.len() + class]
    }

    /// Bytes of the shortest start of a text that matches.
    pub fn shortest(&self, text: &str) -> Option<usize> {
        self.ends(text).next()
    }

    /// Bytes of the longest start of a text that matches.
    pub fn longest(&self, text: &str) -> Option<usize> {
        self.ends(text).last()
    }

    pub fn matches(&self, text: &str) -> bool {
        let mut state = 0;
        for character in text.chars() {
            state = self.step(state, character);
            if state == DEAD {
                return false;
            }
        }
        self.accepts[state as usize]
    }

    /// Every place where a match that starts with the text ends.
    fn ends<'a>(&'a self, text: &'a str) -> impl Iterator<Item = usize> + 'a {
        let states = text.char_indices().scan(0, |state, (place, character)| {
            *state = self.step(*state, character);
            (*state != DEAD).then_some((place + character.len_utf8(), *state))
        });
        [(0, 0)].into_iter().chain(states).filter(|(_, state)| self.accepts[*state as usize]).map(|(place, _)| place)
    }
}

fn too_large() -> String {
    "it is too large for an automaton".to_owned()
}

fn boundaries(node: &Node, starts: &mut Vec<char>) {
    match node {
        Node::Nothing => {}
        Node::Class(ranges) => {
            for (first, last) in ranges {
                starts.push(*first);
                starts.extend((*last..=char::MAX).nth(1));
            }
        }
        Node::Concat(nodes) | Node::Union(nodes) | Node::Intersection(nodes) => {
            nodes.iter().for_each(|node| boundaries(node, starts));
        }
        Node::Repeat(node, ..) | Node::Group(node) => boundaries(node, starts),
    }
}

type Id = u32;

/// A pattern over classes of characters; its parts are numbers of other terms.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Term {
    Nothing,
    Empty,
    /// Sorted classes.
    Class(Box<[u16]>),
    Concat(Id, Id),
    /// Sorted, at least two.
    Union(Box<[Id]>),
    Intersection(Box<[Id]>),
    Star(Id),
}

/// Every term once, so that equal terms have equal numbers.
#[derive(Default)]
struct Terms {
    all: Vec<Term>,
    nullable: Vec<bool>,
    numbers: HashMap<Term, Id>,
    derivatives: HashMap<(Id, u16), Id>,
    work: usize,
}

impl Terms {
    fn intern(&mut self, term: Term) -> Result<Id, String> {
        if let Some(id) = self.numbers.get(&term) {
            return Ok(*id);
        }
        if self.all.len() >= TERMS_MAX {
            return Err(too_large());
        }
        let is_nullable = |id: &Id| self.nullable[*id as usize];
        let nullable = match &term {
            Term::Nothing | Term::Class(_) => false,
            Term::Empty | Term::Star(_) => true,
            Term::Concat(first, second) => is_nullable(first) && is_nullable(second),
            Term::Union(terms) => terms.iter().any(is_nullable),
            Term::Intersection(terms) => terms.iter().all(is_nullable),
        };
        let id = self.all.len() as Id;
        self.all.push(term.clone());
        self.nullable.push(nullable);
        self.numbers.insert(term, id);
        Ok(id)
    }

    fn of_node(&mut self, node: &Node, class_of: &impl Fn(char) -> usize) -> Result<Id, String> {
        match node {
            Node::Nothing => self.intern(Term::Nothing),
            Node::Class(ranges) => {
                let classes = ranges.iter().flat_map(|(first, last)| class_of(*first) as u16..=class_of(*last) as u16);
                let classes: Box<[u16]> = classes.collect();
                self.intern(Term::Class(classes))
            }
            Node::Concat(nodes) => {
                let mut whole = self.intern(Term::Empty)?;
                for node in nodes.iter().rev() {
                    let first = self.of_node(node, class_of)?;
                    whole = self.concat(first, whole)?;
                }
                Ok(whole)
            }
            Node::Union(nodes) => {
                let terms = nodes.iter().map(|node| self.of_node(node, class_of)).collect::<Result<_, _>>()?;
                self.union(terms)
            }
            Node::Intersection(nodes) => {
                let terms = nodes.iter().map(|node| self.of_node(node, class_of)).collect::<Result<_, _>>()?;
                self.intersection(terms)
            }
            Node::Group(node) => self.of_node(node, class_of),
            Node::Repeat(node, least, most) => {
                let term = self.of_node(node, class_of)?;
                let empty = self.intern(Term::Empty)?;
                let mut whole = match most {
                    None => self.star(term)?,
                    Some(_) => empty,
                };
                for _ in *least..most.unwrap_or(*least) {
                    let more = self.concat(term, whole)?;
                    whole = self.union(vec![more, empty])?;
                }
                for _ in 0..*least {
                    whole = self.concat(term, whole)?;
                }
                Ok(whole)
            }
        }
    }

    fn concat(&mut self, first: Id, second: Id) -> Result<Id, String> {
        match (&self.all[first as usize], &self.all[second as usize]) {
            (Term::Nothing, _) | (_, Term::Empty) => Ok(first),
            (_, Term::Nothing) | (Term::Empty, _) => Ok(second),
            (&Term::Concat(head, tail), _) => {
                let rest = self.concat(tail, second)?;
                self.concat(head, rest)
            }
            _ => self.intern(Term::Concat(first, second)),
        }
    }

    fn star(&mut self, term: Id) -> Result<Id, String> {
        match self.all[term as usize] {
            Term::Star(_) | Term::Empty => Ok(term),
            Term::Nothing => self.intern(Term::Empty),
            _ => self.intern(Term::Star(term)),
        }
    }

    fn union(&mut self, terms: Vec<Id>) -> Result<Id, String> {
        let mut all = Vec::with_capacity(terms.len());
        for term in terms {
            match &self.all[term as usize] {
                Term::Nothing => {}
                Term::Union(parts) => all.extend_from_slice(parts),
                _ => all.push(term),
            }
        }
        self.distinct(&mut all)?;
        match all.len() {
            0 => self.intern(Term::Nothing),
            1 => Ok(all[0]),
            _ => self.intern(Term::Union(all.into())),
        }
    }

    fn distinct(&mut self, terms: &mut Vec<Id>) -> Result<(), String> {
        self.work += terms.len();
        if self.work > WORK_MAX {
            return Err(too_large());
        }
        terms.sort_unstable();
        terms.dedup();
        Ok(())
    }

    fn intersection(&mut self, terms: Vec<Id>) -> Result<Id, String> {
        let mut all = Vec::with_capacity(terms.len());
        for term in terms {
            match &self.all[term as usize] {
                Term::Nothing => return Ok(term),
                Term::Intersection(parts) => all.extend_from_slice(parts),
                _ => all.push(term),
            }
        }
        self.distinct(&mut all)?;
        if all.len() == 1 { Ok(all[0]) } else { self.intern(Term::Intersection(all.into())) }
    }

    fn derivative(&mut self, term: Id, class: u16) -> Result<Id, String> {
        if let Some(known) = self.derivatives.get(&(term, class)) {
            return Ok(*known);
        }
        let derivative = match self.all[term as usize].clone() {
            Term::Nothing | Term::Empty => self.intern(Term::Nothing)?,
            Term::Class(classes) => {
                let found = classes.binary_search(&class).is_ok();
                self.intern(if found { Term::Empty } else { Term::Nothing })?
            }
            Term::Concat(first, second) => {
                let head = self.derivative(first, class)?;
                let whole = self.concat(head, second)?;
                if self.nullable[first as usize] {
                    let skipped = self.derivative(second, class)?;
                    self.union(vec![whole, skipped])?
                } else {
                    whole
                }
            }
            Term::Union(terms) => {
                let terms = terms.iter().map(|term| self.derivative(*term, class)).collect::<Result<_, _>>()?;
                self.union(terms)?
            }
            Term::Intersection(terms) => {
                let terms = terms.iter().map(|term| self.derivative(*term, class)).collect::<Result<_, _>>()?;
                self.intersection(terms)?
            }
            Term::Star(inner) => {
                let head = self.derivative(inner, class)?;
                self.concat(head, term)?
            }
        };
        self.derivatives.insert((term, class), derivative);
        Ok(derivative)
    }
}
