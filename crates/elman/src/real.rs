//! The number types: [`Real`], which the equations need, and [`Float`], which a machine has.

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
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The nearest number of this type, with no derivative.
    fn from_f64(value: f64) -> Self;
    /// The value; a derivative is dropped.
    fn to_f64(self) -> f64;
}

/// A floating-point type of the machine: `f32` or `f64`. It cannot be implemented elsewhere.
pub trait Float: Real + private::Sealed {
    /// `f32` or `f64`.
    const NAME: &'static str;
    /// The distance from 1 to the next larger number; a rounding moves a number by half of it at most, relative to
    /// the number.
    const EPSILON: f64;
    /// The smallest positive normal number.
    const MIN_POSITIVE: f64;
    /// The bits, for exact comparison.
    fn bits(self) -> u64;
}

macro_rules! implement {
    ($($t:ident),*) => {$(
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
            fn tanh(self) -> Self {
                <$t>::tanh(self)
            }
            fn from_f64(value: f64) -> Self {
                value as $t
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
        }

        impl Float for $t {
            const NAME: &'static str = stringify!($t);
            const EPSILON: f64 = $t::EPSILON as f64;
            const MIN_POSITIVE: f64 = $t::MIN_POSITIVE as f64;
            fn bits(self) -> u64 {
                u64::from(self.to_bits())
            }
        }

        impl private::Sealed for $t {}
    )*};
}
implement!(f32, f64);

mod private {
    pub trait Sealed {}
}

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
    /// The crate's own, `sinh(a) / cosh(a)`, is NaN where these overflow.
    fn tanh(self) -> Self {
        let tanh = self.re.tanh();
        num_dual::Dual64::new(tanh, (1.0 - tanh * tanh) * self.eps)
    }
    fn from_f64(value: f64) -> Self {
        value.into()
    }
    fn to_f64(self) -> f64 {
        self.re
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_tell_all_numbers_apart() {
        assert_eq!([0.0f32, -0.0, 1.0].map(Float::bits), [0, 0x8000_0000, 0x3f80_0000]);
        assert_eq!([0.0f64, -0.0, 1.0].map(Float::bits), [0, 1 << 63, 0x3ff << 52]);
        assert_eq!((f32::NAME, f64::NAME), ("f32", "f64"));
    }
}
