use std::convert::Infallible;

use elman::Error;

/// An output that is fed back: the step receives a reference to its last value, at step 0 to this one.
///
/// `Initial(h0)` is Theano's `h0`, or `dict(initial=h0)`, in `outputs_info`.
#[derive(Clone, Debug)]
pub struct Initial<V>(pub V);

impl<V> Initial<Vec<V>> {
    /// The past values that each step receives, as an array in this order: `-1` is the last one, `-2` the
    /// one before it. `Initial(rows).taps([-2, -1])` is Theano's `dict(initial=rows, taps=[-2, -1])`.
    ///
    /// As in Theano, the furthest tap says how many initial values there must be, and they come in the
    /// order of time: the last of them is what `-1` means at step 0.
    pub fn taps<const N: usize>(self, taps: [isize; N]) -> InitialTaps<V, N> {
        InitialTaps { initial: self.0, taps }
    }
}

/// An output that is fed back with taps; see [`Initial::taps`].
#[derive(Clone, Debug)]
pub struct InitialTaps<V, const N: usize> {
    initial: Vec<V>,
    taps: [isize; N],
}

/// What of its own past one output gives to the step: [`Initial`], [`InitialTaps`] or `None`.
pub trait OutputInfo {
    /// What the step receives.
    type Past<'a>
    where
        Self: 'a;

    /// Checks the initial values and the taps; `what` names the output.
    ///
    /// # Errors
    /// [`Error::Shape`] if a tap is not negative or comes twice, or if there are not as many initial values
    /// as the furthest tap needs.
    fn check(&self, what: &str) -> Result<(), Error>;
}

/// An [`OutputInfo`] of an output whose values are `V`.
pub trait Output<V>: OutputInfo {
    /// What step `t` receives, from the `t` values there are.
    fn past<'a>(&'a self, rows: &'a [V]) -> Self::Past<'a>;
}

impl<V> OutputInfo for Initial<V> {
    type Past<'a>
        = &'a V
    where
        V: 'a;

    fn check(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

impl<V> Output<V> for Initial<V> {
    fn past<'a>(&'a self, rows: &'a [V]) -> &'a V {
        rows.last().unwrap_or(&self.0)
    }
}

impl<V, const N: usize> OutputInfo for InitialTaps<V, N> {
    type Past<'a>
        = [&'a V; N]
    where
        V: 'a;

    fn check(&self, what: &str) -> Result<(), Error> {
        let twice = |(i, tap): (usize, &isize)| self.taps[..i].contains(tap);
        if self.taps.iter().any(|tap| *tap >= 0) || self.taps.iter().enumerate().any(twice) {
            return Err(Error::shape(
                format!("{what}: taps"),
                "different numbers below 0",
                format!("{:?}", self.taps),
            ));
        }
        let furthest = self.taps.iter().map(|tap| tap.unsigned_abs()).max().unwrap_or(0);
        if self.initial.len() != furthest {
            return Err(Error::shape(
                format!("{what}: initial values"),
                format!("{furthest}, for the taps {:?}", self.taps),
                self.initial.len(),
            ));
        }
        Ok(())
    }
}

impl<V, const N: usize> Output<V> for InitialTaps<V, N> {
    fn past<'a>(&'a self, rows: &'a [V]) -> [&'a V; N] {
        self.taps.map(|tap| {
            let back = tap.unsigned_abs();
            match rows.len().checked_sub(back) {
                Some(index) => &rows[index],
                None => &self.initial[self.initial.len() + rows.len() - back],
            }
        })
    }
}

/// `None`, the only value of this type: an output that is not fed back.
impl OutputInfo for Option<Infallible> {
    type Past<'a> = ();

    fn check(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }
}

impl<V> Output<V> for Option<Infallible> {
    fn past<'a>(&'a self, _: &'a [V]) {}
}

/// What of their past the outputs give to the step: one [`OutputInfo`], or a tuple of up to six.
pub trait OutputsInfo {
    /// What the step receives.
    type Past<'a>
    where
        Self: 'a;

    /// Checks each output; `name` is the scan's.
    ///
    /// # Errors
    /// Those of [`OutputInfo::check`].
    fn check(&self, name: &str) -> Result<(), Error>;
}

/// An [`OutputsInfo`] for a step that returns `R`: one value, or a tuple of them.
pub trait Outputs<R>: OutputsInfo {
    /// What the scan returns: a `Vec` of the values of the one output, or a tuple of them.
    type Rows: Default;

    /// What the next step receives, after the steps whose values are in `rows`.
    fn past<'a>(&'a self, rows: &'a Self::Rows) -> Self::Past<'a>;

    /// Appends what a step returned.
    fn record(rows: &mut Self::Rows, values: R);
}

impl<A: OutputInfo> OutputsInfo for A {
    type Past<'a>
        = A::Past<'a>
    where
        A: 'a;

    fn check(&self, name: &str) -> Result<(), Error> {
        OutputInfo::check(self, &format!("{name}: output 0"))
    }
}

impl<V, A: Output<V>> Outputs<V> for A {
    type Rows = Vec<V>;

    fn past<'a>(&'a self, rows: &'a Vec<V>) -> A::Past<'a> {
        Output::past(self, rows)
    }

    fn record(rows: &mut Vec<V>, value: V) {
        rows.push(value);
    }
}

macro_rules! tuple_of_outputs {
    ($($info:ident $value:ident $index:tt),*) => {
        impl<$($info: OutputInfo),*> OutputsInfo for ($($info,)*) {
            type Past<'a> = ($($info::Past<'a>,)*) where Self: 'a;

            fn check(&self, name: &str) -> Result<(), Error> {
                $(OutputInfo::check(&self.$index, &format!("{name}: output {}", $index))?;)*
                Ok(())
            }
        }

        impl<$($value, $info: Output<$value>),*> Outputs<($($value,)*)> for ($($info,)*) {
            type Rows = ($(Vec<$value>,)*);

            fn past<'a>(&'a self, rows: &'a Self::Rows) -> Self::Past<'a> {
                ($(Output::past(&self.$index, &rows.$index),)*)
            }

            fn record(rows: &mut Self::Rows, values: ($($value,)*)) {
                $(rows.$index.push(values.$index);)*
            }
        }
    };
}
tuple_of_outputs!(A V 0);
tuple_of_outputs!(A V 0, B W 1);
tuple_of_outputs!(A V 0, B W 1, C X 2);
tuple_of_outputs!(A V 0, B W 1, C X 2, D Y 3);
tuple_of_outputs!(A V 0, B W 1, C X 2, D Y 3, E Z 4);
tuple_of_outputs!(A V 0, B W 1, C X 2, D Y 3, E Z 4, F U 5);
