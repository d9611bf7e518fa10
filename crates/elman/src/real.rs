use std::fmt::{Debug, Display};
use std::ops::Neg;

use num_traits::NumAssign;

/// The number type of a network: `f32`, `f64` or, with the feature `num-dual`, dual numbers.
///
/// It has what the equations need and no more, so that one text of the network runs on all of them.
/// Comparison is by value (the real part of a dual number).
pub trait Real:
    NumAssign + Neg<Output = Self> + Copy + PartialOrd + Debug + Display + Send + Sync + 'static
{
    /// e to the power of this number.
    fn exp(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The nearest number of this type, with no derivative.
    fn from_f64(value: f64) -> Self;
    /// The value; a derivative is dropped.
    fn to_f64(self) -> f64;
}

macro_rules! impl_real {
    ($($t:ty),*) => {$(
        impl Real for $t {
            fn exp(self) -> Self {
                <$t>::exp(self)
            }
            fn ln(self) -> Self {
                <$t>::ln(self)
            }
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }
    )*};
}
impl_real!(f32, f64);

#[cfg(feature = "num-dual")]
impl Real for num_dual::Dual64 {
    fn exp(self) -> Self {
        num_dual::DualNum::exp(&self)
    }
    fn ln(self) -> Self {
        num_dual::DualNum::ln(&self)
    }
    fn sqrt(self) -> Self {
        num_dual::DualNum::sqrt(&self)
    }
    fn from_f64(value: f64) -> Self {
        value.into()
    }
    fn to_f64(self) -> f64 {
        self.re
    }
}
