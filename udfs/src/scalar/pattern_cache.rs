//! Compiled patterns, so that a constant pattern compiles once for all batches and a column of patterns once per pattern.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Patterns kept per function; past it all are forgotten, which only costs compiling them again.
const PATTERNS_MAX: usize = 1_000;

type Key = (String, Option<char>);

/// What `compile` makes of a pattern and its escape character.
pub(super) struct PatternCache<P> {
    compile: fn(&str, Option<char>) -> Result<P, String>,
    compiled: Mutex<BTreeMap<Key, Arc<P>>>,
}

impl<P> PatternCache<P> {
    pub const fn new(compile: fn(&str, Option<char>) -> Result<P, String>) -> Self {
        Self { compile, compiled: Mutex::new(BTreeMap::new()) }
    }

    /// The compiled pattern, or what is wrong with it.
    pub fn get(&self, pattern: &str, escape: Option<char>) -> Result<Arc<P>, String> {
        let key = (pattern.to_owned(), escape);
        if let Some(compiled) = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(compiled.clone());
        }
        // Compiling may take long; nobody else has to wait for it.
        let compiled = Arc::new((self.compile)(pattern, escape)?);
        let mut all = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= PATTERNS_MAX {
            all.clear();
        }
        all.insert(key, compiled.clone());
        Ok(compiled)
    }

    /// For a batch of rows, whose patterns are mostly one.
    pub fn rows(&self) -> PatternRows<'_, P> {
        PatternRows { cache: self, last: None }
    }
}

/// Remembers the pattern of the row before.
pub(super) struct PatternRows<'a, P> {
    cache: &'a PatternCache<P>,
    last: Option<(Key, Arc<P>)>,
}

impl<P> PatternRows<'_, P> {
    pub fn at(&mut self, pattern: &str, escape: Option<char>) -> Result<&P, String> {
        let is_last = |((text, last_escape), _): &(Key, Arc<P>)| text == pattern && *last_escape == escape;
        let last = match self.last.take().filter(is_last) {
            Some(last) => last,
            None => ((pattern.to_owned(), escape), self.cache.get(pattern, escape)?),
        };
        Ok(&self.last.insert(last).1)
    }
}

/// The one character of an ESCAPE.
pub(super) fn escape_character(escape: &str) -> Result<char, String> {
    let mut characters = escape.chars();
    match (characters.next(), characters.next()) {
        (Some(character), None) => Ok(character),
        _ => Err(format!("an ESCAPE is exactly one character, not '{escape}'")),
    }
}
