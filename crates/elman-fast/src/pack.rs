//! Several sequences side by side: the order in which their steps are computed together.

use std::cmp::Reverse;

/// Sequences sorted by length, the longest first, their rows packed step by step: row `rank` of step t is
/// row `offset(t) + rank`, and the sequences that have a step t are the first `active(t)`.
#[derive(Default)]
pub(crate) struct Pack {
    lengths: Vec<usize>,
    order: Vec<usize>,
    offsets: Vec<usize>,
}

impl Pack {
    /// Packs so many sequences, of which `length` gives the number of steps.
    pub(crate) fn pack(&mut self, sequences: usize, length: impl Fn(usize) -> usize) {
        self.lengths.clear();
        self.lengths.extend((0..sequences).map(length));
        self.arrange();
    }

    fn arrange(&mut self) {
        let length = |i: usize| self.lengths[i];
        by_length(&mut self.order, self.lengths.len(), &length);
        self.offsets.clear();
        self.offsets.push(0);
        let mut active = self.order.len();
        let mut rows = 0;
        for t in 0..self.order.first().map_or(0, |longest| length(*longest)) {
            while length(self.order[active - 1]) <= t {
                active -= 1;
            }
            rows += active;
            self.offsets.push(rows);
        }
    }

    /// The sequences by rank.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }

    pub(crate) fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(crate) fn rows(&self) -> usize {
        self.offsets[self.steps()]
    }

    pub(crate) fn offset(&self, t: usize) -> usize {
        self.offsets[t]
    }

    pub(crate) fn active(&self, t: usize) -> usize {
        self.offsets[t + 1] - self.offsets[t]
    }

    /// `(row, sequence, t)` of every row, in order.
    pub(crate) fn each_row(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        (0..self.steps()).flat_map(move |t| {
            (0..self.active(t)).map(move |rank| (self.offset(t) + rank, self.order[rank], t))
        })
    }
}

/// The numbers of sequences, the longest first, of equally long ones the first.
pub(crate) fn by_length(order: &mut Vec<usize>, sequences: usize, length: &dyn Fn(usize) -> usize) {
    order.clear();
    order.extend(0..sequences);
    order.sort_unstable_by_key(|i| (Reverse(length(*i)), *i));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_are_packed_longest_first() {
        let lengths = [2, 1, 4, 2];
        let mut pack = Pack::default();
        pack.pack(4, |i| lengths[i]);
        assert_eq!(pack.order(), [2, 0, 3, 1]);
        assert_eq!((pack.steps(), pack.rows()), (4, 9));
        assert_eq!((0..4).map(|t| pack.active(t)).collect::<Vec<_>>(), [4, 3, 1, 1]);
        let rows: Vec<_> = pack.each_row().collect();
        assert_eq!(rows[3..6], [(3, 1, 0), (4, 2, 1), (5, 0, 1)]);
        pack.pack(1, |i| lengths[i]);
        assert_eq!(pack.each_row().collect::<Vec<_>>(), [(0, 0, 0), (1, 0, 1)]);
    }
}
