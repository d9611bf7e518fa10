use std::ops::Range;

use elman::ndarray::{ArrayBase, ArrayView, Axis, Data, Ix1, Ix2, Ix3, Ix4, RawData};

/// Something that [`scan`](super::scan) can iterate over: its rows, by index.
pub trait Sequence {
    /// One row, as the step receives it.
    type Item;

    /// The number of rows.
    fn rows(&self) -> usize;

    /// Row `index`, which is below [`Sequence::rows`].
    fn row(&self, index: usize) -> Self::Item;
}

impl<'a, T> Sequence for &'a [T] {
    type Item = &'a T;

    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize) -> &'a T {
        &self[index]
    }
}

impl<'a, T> Sequence for &'a Vec<T> {
    type Item = &'a T;

    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize) -> &'a T {
        &self[index]
    }
}

impl<'a, T, const N: usize> Sequence for &'a [T; N] {
    type Item = &'a T;

    fn rows(&self) -> usize {
        N
    }

    fn row(&self, index: usize) -> &'a T {
        &self[index]
    }
}

impl Sequence for Range<usize> {
    type Item = usize;

    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize) -> usize {
        self.start + index
    }
}

impl<'a, S: Data> Sequence for &'a ArrayBase<S, Ix1, <S as RawData>::Elem> {
    type Item = &'a S::Elem;

    fn rows(&self) -> usize {
        self.len()
    }

    fn row(&self, index: usize) -> &'a S::Elem {
        &self[index]
    }
}

macro_rules! array_sequence {
    ($($larger:ty => $smaller:ty),*) => {$(
        impl<'a, S: Data> Sequence for &'a ArrayBase<S, $larger, <S as RawData>::Elem> {
            type Item = ArrayView<'a, S::Elem, $smaller>;

            fn rows(&self) -> usize {
                self.len_of(Axis(0))
            }

            fn row(&self, index: usize) -> Self::Item {
                self.index_axis(Axis(0), index)
            }
        }
    )*};
}
array_sequence!(Ix2 => Ix1, Ix3 => Ix2, Ix4 => Ix3);

/// A sequence that is about to get taps: `Input(x).taps([-1, 0, 1])` is Theano's
/// `dict(input=x, taps=[-1, 0, 1])`.
#[derive(Clone, Debug)]
pub struct Input<S>(pub S);

impl<S: Sequence> Input<S> {
    /// The rows that each step receives, as an array in this order: `k` is the row `k` after the current
    /// one, a negative `k` one before it.
    pub fn taps<const N: usize>(self, taps: [isize; N]) -> InputTaps<S, N> {
        InputTaps { input: self.0, taps }
    }
}

/// A sequence with taps; see [`Input::taps`].
#[derive(Clone, Debug)]
pub struct InputTaps<S, const N: usize> {
    input: S,
    taps: [isize; N],
}

/// How many rows a sequence has, and how many of them its taps need around the current one.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub(super) rows: usize,
    pub(super) before: usize,
    pub(super) after: usize,
}

impl Extent {
    /// The number of steps that there are rows for.
    pub(super) fn steps(&self) -> usize {
        self.rows.saturating_sub(self.before).saturating_sub(self.after)
    }

    /// The row that tap 0 means at step `t`, below [`Extent::steps`]. Backwards, the sequence is read from
    /// its end; the taps keep their direction, as in Theano.
    fn current(&self, t: usize, go_backwards: bool) -> usize {
        self.before + if go_backwards { self.steps() - 1 - t } else { t }
    }
}

/// One sequence, with taps or without.
pub trait SequenceInfo {
    /// What the step receives: a row, or an array of rows.
    type Items;

    /// How many rows there are and how far the taps reach.
    fn extent(&self) -> Extent;

    /// What step `t` receives.
    fn items(&self, t: usize, go_backwards: bool) -> Self::Items;
}

impl<S: Sequence> SequenceInfo for S {
    type Items = S::Item;

    fn extent(&self) -> Extent {
        Extent { rows: self.rows(), before: 0, after: 0 }
    }

    fn items(&self, t: usize, go_backwards: bool) -> S::Item {
        self.row(self.extent().current(t, go_backwards))
    }
}

impl<S: Sequence, const N: usize> SequenceInfo for InputTaps<S, N> {
    type Items = [S::Item; N];

    fn extent(&self) -> Extent {
        let reach = |beyond: fn(&isize) -> bool| {
            self.taps.iter().filter(|tap| beyond(tap)).map(|tap| tap.unsigned_abs()).max().unwrap_or(0)
        };
        Extent { rows: self.input.rows(), before: reach(|tap| *tap < 0), after: reach(|tap| *tap > 0) }
    }

    fn items(&self, t: usize, go_backwards: bool) -> [S::Item; N] {
        let current = self.extent().current(t, go_backwards);
        // No wrap: the extent counted the taps.
        self.taps.map(|tap| self.input.row(current.wrapping_add_signed(tap)))
    }
}

/// What the loop reads: nothing, `()`; one sequence; or a tuple of up to six.
///
/// The step receives `()`, a row, or a tuple of rows; in place of a row, a sequence with taps gives an
/// array of rows.
pub trait Sequences {
    /// What the step receives.
    type Items;

    /// The extent of each sequence, in order.
    fn extents(&self) -> Vec<Extent>;

    /// What step `t` receives.
    fn items(&self, t: usize, go_backwards: bool) -> Self::Items;
}

impl<S: SequenceInfo> Sequences for S {
    type Items = S::Items;

    fn extents(&self) -> Vec<Extent> {
        vec![self.extent()]
    }

    fn items(&self, t: usize, go_backwards: bool) -> S::Items {
        SequenceInfo::items(self, t, go_backwards)
    }
}

macro_rules! tuple_of_sequences {
    ($($name:ident)*) => {
        impl<$($name: SequenceInfo),*> Sequences for ($($name,)*) {
            type Items = ($($name::Items,)*);

            #[allow(non_snake_case)]
            fn extents(&self) -> Vec<Extent> {
                let ($($name,)*) = self;
                vec![$($name.extent()),*]
            }

            #[allow(non_snake_case, clippy::unused_unit)]
            fn items(&self, _t: usize, _go_backwards: bool) -> Self::Items {
                let ($($name,)*) = self;
                ($(SequenceInfo::items($name, _t, _go_backwards),)*)
            }
        }
    };
}
tuple_of_sequences!();
tuple_of_sequences!(A);
tuple_of_sequences!(A B);
tuple_of_sequences!(A B C);
tuple_of_sequences!(A B C D);
tuple_of_sequences!(A B C D E);
tuple_of_sequences!(A B C D E F);
