//! candle: its tensors on the CPU, f32.

use candle_core::{D, Device, Tensor};
use candle_nn::ops;
use elman::ndarray::Array2;
use elman_benches::protocol::Failure;

use crate::network::Tensors;

type Result<T> = std::result::Result<T, Failure>;

#[derive(Clone, Copy)]
pub(crate) struct Candle;

impl Tensors for Candle {
    type Tensor = Tensor;
    type Ids = Tensor;

    const NAME: &'static str = "candle";
    const WHAT: &'static str = "loop and gradient by hand on its tensors, products moved out of the loop";
    const VERSIONS: &'static [(&'static str, &'static str)] =
        &[("candle-core", env!("CANDLE_CORE")), ("gemm", env!("GEMM"))];

    fn tensor(self, array: &Array2<f32>) -> Result<Tensor> {
        Ok(Tensor::from_iter(array.iter().copied(), &Device::Cpu)?.reshape(array.dim())?)
    }
    fn array(self, a: &Tensor) -> Result<Array2<f32>> {
        Ok(Array2::from_shape_vec(a.dims2()?, a.flatten_all()?.to_vec1()?)?)
    }
    fn ids(self, ids: &[usize]) -> Result<Tensor> {
        Ok(Tensor::from_iter(ids.iter().map(|id| *id as u32), &Device::Cpu)?)
    }

    fn rows(self, a: &Tensor) -> usize {
        a.dims()[0]
    }
    fn reshape(self, a: &Tensor, rows: usize, cols: usize) -> Result<Tensor> {
        Ok(a.reshape((rows, cols))?)
    }
    fn transposed(self, a: &Tensor) -> Result<Tensor> {
        Ok(a.t()?)
    }
    fn narrow(self, a: &Tensor, start: usize, rows: usize) -> Result<Tensor> {
        Ok(a.narrow(0, start, rows)?)
    }
    fn cat(self, parts: Vec<Tensor>) -> Result<Tensor> {
        Ok(Tensor::cat(&parts, 0)?)
    }
    fn repeat(self, row: &Tensor, count: usize) -> Result<Tensor> {
        Ok(row.expand((count, row.dims()[1]))?)
    }

    fn product(self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(a.matmul(b)?)
    }
    fn add(self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(if a.shape() == b.shape() { (a + b)? } else { a.broadcast_add(b)? })
    }
    fn sub(self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok((a - b)?)
    }
    fn mul(self, a: Tensor, b: &Tensor) -> Result<Tensor> {
        Ok(if a.shape() == b.shape() { (a * b)? } else { a.broadcast_mul(b)? })
    }
    fn scale(self, a: Tensor, factor: f32) -> Result<Tensor> {
        Ok((a * f64::from(factor))?)
    }
    fn sigmoid(self, a: Tensor) -> Result<Tensor> {
        Ok(ops::sigmoid(&a)?)
    }
    fn exp(self, a: Tensor) -> Result<Tensor> {
        Ok(a.exp()?)
    }
    fn log_softmax(self, a: Tensor) -> Result<Tensor> {
        Ok(ops::log_softmax(&a, D::Minus1)?)
    }
    fn slope(self, h: &Tensor) -> Result<Tensor> {
        Ok((h * h.affine(-1.0, 1.0)?)?)
    }
    fn normalized(self, a: Tensor) -> Result<Tensor> {
        Ok(a.broadcast_div(&a.sqr()?.sum_keepdim(1)?.sqrt()?)?)
    }
    fn sum_rows(self, a: &Tensor) -> Result<Tensor> {
        Ok(a.sum_keepdim(0)?)
    }
    fn sum(self, a: Tensor) -> Result<f32> {
        Ok(a.sum_all()?.to_scalar()?)
    }
    fn argmax(self, a: Tensor) -> Result<Vec<usize>> {
        Ok(a.argmax(1)?.to_vec1::<u32>()?.into_iter().map(|label| label as usize).collect())
    }

    fn select(self, a: &Tensor, ids: &Tensor) -> Result<Tensor> {
        Ok(a.index_select(ids, 0)?)
    }
    fn gathered(self, rows: usize, ids: &Tensor, a: &Tensor) -> Result<Tensor> {
        Ok(Tensor::zeros((rows, a.dims()[1]), a.dtype(), &Device::Cpu)?.index_add(ids, a, 0)?)
    }
    fn replace(self, a: Tensor, ids: &Tensor, rows: &Tensor) -> Result<Tensor> {
        // In place, in the storage of `a`.
        let ids = ids.unsqueeze(1)?.expand(rows.dims2()?)?.contiguous()?;
        a.scatter_set(&ids, rows, 0)?;
        Ok(a)
    }
}
