//! Sets of small numbers: creators in one word, events of a row in as many words as the row has.

use smallvec::{SmallVec, smallvec};

/// A set of creators (Q3); a committee has at most 128 members.
pub(crate) type Creators = u128;

/// One creator as a set.
pub(crate) const fn creator(index: usize) -> Creators {
    1 << index
}

/// The numbers in a set of creators, ascending.
pub(crate) fn creators_in(mut bits: Creators) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if bits == 0 {
            return None;
        }
        let lowest = bits.trailing_zeros() as usize;
        bits &= bits - 1;
        Some(lowest)
    })
}

/// A set of events of one row, by their index in it: a row of honest creators fits into two words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RowSet {
    words: SmallVec<[u64; 2]>,
}

impl RowSet {
    /// The empty set.
    pub(crate) fn new() -> Self {
        Self { words: smallvec![0; 2] }
    }

    pub(crate) fn insert(&mut self, index: usize) {
        let word = index / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
    }

    pub(crate) fn remove(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// How many of these are also in `other`.
    pub(crate) fn count_common(&self, other: &Self) -> usize {
        self.words.iter().zip(&other.words).map(|(one, two)| (one & two).count_ones() as usize).sum()
    }

    pub(crate) fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(one, two)| one & two != 0)
    }

    pub(crate) fn union_with(&mut self, other: &Self) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (one, two) in self.words.iter_mut().zip(&other.words) {
            *one |= two;
        }
    }

    /// Keep what is also in `other`.
    pub(crate) fn intersect_with(&mut self, other: &Self) {
        for (at, one) in self.words.iter_mut().enumerate() {
            *one &= other.words.get(at).copied().unwrap_or(0);
        }
    }

    /// Take out all that is in `other`.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (one, two) in self.words.iter_mut().zip(&other.words) {
            *one &= !two;
        }
    }

    /// The indices, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut word = *word;
            std::iter::from_fn(move || {
                if word == 0 {
                    return None;
                }
                let lowest = word.trailing_zeros() as usize;
                word &= word - 1;
                Some(at * 64 + lowest)
            })
        })
    }
}
