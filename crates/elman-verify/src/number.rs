use elman::Real;

/// A floating-point type that the suite can judge an implementation in: `f32` or `f64`.
pub trait Number: Real + private::Sealed {
    /// `f32` or `f64`.
    const NAME: &'static str;
    /// The distance from 1 to the next larger number; a rounding moves a number by half of it at most.
    const EPSILON: f64;
    /// Where results stop to count: in `f32` the smallest normal number, below which results lose digits or
    /// become zero on some machines; in `f64` 1e-150, below which squares, and with them the variances that
    /// the tolerances are computed from, do so.
    const FLOOR: f64;
    /// A number well inside the subnormal range.
    const SUBNORMAL: f64;
    /// The bits, to compare results exactly.
    fn bits(self) -> u64;
}

impl Number for f32 {
    const NAME: &'static str = "f32";
    const EPSILON: f64 = f32::EPSILON as f64;
    const FLOOR: f64 = f32::MIN_POSITIVE as f64;
    const SUBNORMAL: f64 = 1e-40;
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
}

impl Number for f64 {
    const NAME: &'static str = "f64";
    const EPSILON: f64 = f64::EPSILON;
    const FLOOR: f64 = 1e-150;
    const SUBNORMAL: f64 = 1e-310;
    fn bits(self) -> u64 {
        self.to_bits()
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_tell_all_numbers_apart() {
        assert_eq!([0.0f32, -0.0, 1.0].map(Number::bits), [0, 0x8000_0000, 0x3f80_0000]);
        assert_eq!([0.0f64, -0.0, 1.0].map(Number::bits), [0, 1 << 63, 0x3ff << 52]);
    }
}
