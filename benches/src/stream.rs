use elman::ndarray::{Array, ArrayBase, Data, DataMut, Dimension, ShapeBuilder};

/// A sequence of numbers that any language repeats in a few lines, bit for bit, so that systems can be given
/// equal inputs without a file.
///
/// Entry `i` of stream `s`, in wrapping 64-bit arithmetic, is SplitMix64's output function:
///
/// ```text
/// z = (s·2^40 + i + 1) · 0x9E3779B97F4A7C15
/// z = (z ^ (z >> 30)) · 0xBF58476D1CE4E5B9
/// z = (z ^ (z >> 27)) · 0x94D049BB133111EB
/// z =  z ^ (z >> 31)
/// entry = ((z >> 40) · 2^-24 - 0.5) · width         in [-width/2, width/2)
/// ```
///
/// With a `width` that is a power of two every operation is exact in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(pub u64);

impl Stream {
    /// Entry `i`.
    pub fn entry(self, i: usize, width: f32) -> f32 {
        let mut z = (self.0 << 40).wrapping_add(i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        ((z >> 40) as f32 * (-24f32).exp2() - 0.5) * width
    }

    /// Fills a tensor with the first entries, in row-major order.
    pub fn fill<S: DataMut<Elem = f32>, D: Dimension>(self, tensor: &mut ArrayBase<S, D>, width: f32) {
        tensor.iter_mut().enumerate().for_each(|(i, entry)| *entry = self.entry(i, width));
    }

    /// A tensor of the first entries, in row-major order.
    pub fn tensor<D: Dimension, S: ShapeBuilder<Dim = D>>(self, shape: S, width: f32) -> Array<f32, D> {
        let mut tensor = Array::zeros(shape);
        self.fill(&mut tensor, width);
        tensor
    }
}

/// One number for a tensor of `n` entries, by which systems compare results:
/// `sqrt(sum over i of entry[i]² · (1 + i/n))`, `i` counting in row-major order. Entries in another order, or
/// another sign of a whole term, give another number; rounding hardly changes it.
pub fn fingerprint<S: Data<Elem = f32>, D: Dimension>(tensor: &ArrayBase<S, D>) -> f64 {
    let n = tensor.len() as f64;
    let weighted =
        tensor.iter().enumerate().map(|(i, entry)| f64::from(*entry).powi(2) * (1.0 + i as f64 / n));
    weighted.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use elman::ndarray::array;

    #[test]
    fn the_stream_is_the_one_that_other_systems_compute() {
        // Computed by numpy, in peers/systems/inputs.py.
        let first = [0, 1, 2].map(|i| f64::from(Stream(0).entry(i, 2.0)));
        assert_eq!(first, [0.7666215896606445, -0.13694405555725098, -0.9471324682235718]);
        assert_eq!(f64::from(Stream(5).entry(2, 2.0)), -0.3022962808609009);
    }

    #[test]
    fn a_fingerprint_depends_on_the_order() {
        assert_eq!(fingerprint(&array![[3.0f32, 0.0], [0.0, 0.0]]), 3.0);
        assert_eq!(fingerprint(&array![0.0f32, 2.0]), 6f64.sqrt());
    }
}
