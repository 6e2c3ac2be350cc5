//! Places in the order in which they were last used.

const NONE: u32 = u32::MAX;

/// A doubly linked list in flat memory, the longest unused place first.
#[derive(Debug, Clone)]
pub(super) struct Recency {
    /// Before and after each place; a place that is in no list points at itself.
    links: Vec<[u32; 2]>,
    first: u32,
    last: u32,
}

impl Default for Recency {
    fn default() -> Self {
        Self { links: Vec::new(), first: NONE, last: NONE }
    }
}

impl Recency {
    /// The place that has not been used for the longest time.
    pub(super) fn first(&self) -> Option<u32> {
        Some(self.first).filter(|first| *first != NONE)
    }

    /// Makes a place the last one; it may be new.
    pub(super) fn touch(&mut self, place: u32) {
        if self.last == place {
            return;
        }
        while self.links.len() <= place as usize {
            let new = self.links.len() as u32;
            self.links.push([new; 2]);
        }
        self.remove(place);
        let before = std::mem::replace(&mut self.last, place);
        self.links[place as usize] = [before, NONE];
        match before {
            NONE => self.first = place,
            before => self.links[before as usize][1] = place,
        }
    }

    /// Takes a place out; nothing happens if it is not in.
    pub(super) fn remove(&mut self, place: u32) {
        let [before, after] = self.links[place as usize];
        if before == place {
            return;
        }
        match before {
            NONE => self.first = after,
            before => self.links[before as usize][1] = after,
        }
        match after {
            NONE => self.last = before,
            after => self.links[after as usize][0] = before,
        }
        self.links[place as usize] = [place; 2];
    }

    /// All places, the longest unused first.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.first(), |place| Some(self.links[*place as usize][1]).filter(|next| *next != NONE))
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.links.capacity() * size_of::<[u32; 2]>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::Random;

    #[test]
    fn the_longest_unused_place_is_first() {
        let (mut recency, mut expected, mut random) = (Recency::default(), Vec::<u32>::new(), Random::seeded(1, 1));
        for _ in 0..2000 {
            let place = (random.uniform() * 12.0) as u32;
            expected.retain(|other| *other != place);
            if random.uniform() < 0.7 {
                recency.touch(place);
                expected.push(place);
            } else if (place as usize) < recency.links.len() {
                recency.remove(place);
            }
            assert_eq!((recency.iter().collect::<Vec<_>>(), recency.first()), (expected.clone(), expected.first().copied()));
        }
    }
}
