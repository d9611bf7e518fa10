//! The number types that files hold.

use elman::Float;
use ndarray_npy::WritableElement;

/// The number types that files hold.
pub trait Number: Float + WritableElement {
    /// The nearest number of this type.
    fn from_f32(value: f32) -> Self;
    /// The safetensors type.
    #[doc(hidden)]
    const DTYPE: safetensors::Dtype;
    /// Little-endian bytes, appended.
    #[doc(hidden)]
    fn append(self, bytes: &mut Vec<u8>);
}

impl Number for f32 {
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F32;
    fn from_f32(value: f32) -> Self {
        value
    }
    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

impl Number for f64 {
    const DTYPE: safetensors::Dtype = safetensors::Dtype::F64;
    fn from_f32(value: f32) -> Self {
        f64::from(value)
    }
    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}
