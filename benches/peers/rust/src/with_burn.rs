//! burn: its tensors on its flex backend, f32.

use burn_tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData, activation};
use elman::ndarray::Array2;
use elman_benches::protocol::Failure;

use crate::network::Tensors;

type Result<T> = std::result::Result<T, Failure>;

#[derive(Clone, Copy)]
pub(crate) struct Burn;

impl Burn {
    pub(crate) fn new() -> Self {
        Burn
    }
}

impl Tensors for Burn {
    type Tensor = Tensor<2>;
    type Ids = Tensor<1, Int>;

    const NAME: &'static str = "burn";
    const WHAT: &'static str =
        "loop and gradient by hand on its tensors (flex backend), products moved out of the loop";
    const VERSIONS: &'static [(&'static str, &'static str)] =
        &[("burn", env!("BURN_TENSOR")), ("gemm", env!("GEMM"))];

    fn tensor(self, array: &Array2<f32>) -> Result<Tensor<2>> {
        let data =
            TensorData::new(array.iter().copied().collect::<Vec<f32>>(), [array.nrows(), array.ncols()]);
        Ok(Tensor::from_data(data, &Device::flex()))
    }
    fn array(self, a: &Tensor<2>) -> Result<Array2<f32>> {
        let [rows, cols] = a.dims();
        let values = a.to_data().try_to_vec::<f32>().map_err(|error| format!("{error:?}"))?;
        Ok(Array2::from_shape_vec((rows, cols), values)?)
    }
    fn ids(self, ids: &[usize]) -> Result<Tensor<1, Int>> {
        let data = TensorData::new(ids.iter().map(|id| *id as i64).collect::<Vec<i64>>(), [ids.len()]);
        Ok(Tensor::from_data(data, &Device::flex()))
    }

    fn rows(self, a: &Tensor<2>) -> usize {
        a.dims()[0]
    }
    fn reshape(self, a: &Tensor<2>, rows: usize, cols: usize) -> Result<Tensor<2>> {
        Ok(a.clone().reshape([rows, cols]))
    }
    fn transposed(self, a: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.clone().transpose())
    }
    fn narrow(self, a: &Tensor<2>, start: usize, rows: usize) -> Result<Tensor<2>> {
        Ok(a.clone().narrow(0, start, rows))
    }
    fn cat(self, parts: Vec<Tensor<2>>) -> Result<Tensor<2>> {
        Ok(Tensor::cat(parts, 0))
    }
    fn repeat(self, row: &Tensor<2>, count: usize) -> Result<Tensor<2>> {
        let cols = row.dims()[1];
        Ok(row.clone().expand([count, cols]))
    }

    fn product(self, a: &Tensor<2>, b: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.clone().matmul(b.clone()))
    }
    fn add(self, a: Tensor<2>, b: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.add(b.clone()))
    }
    fn sub(self, a: Tensor<2>, b: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.sub(b.clone()))
    }
    fn mul(self, a: Tensor<2>, b: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.mul(b.clone()))
    }
    fn scale(self, a: Tensor<2>, factor: f32) -> Result<Tensor<2>> {
        Ok(a.mul_scalar(factor))
    }
    fn sigmoid(self, a: Tensor<2>) -> Result<Tensor<2>> {
        Ok(activation::sigmoid(a))
    }
    fn exp(self, a: Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.exp())
    }
    fn log_softmax(self, a: Tensor<2>) -> Result<Tensor<2>> {
        Ok(activation::log_softmax(a, 1))
    }
    fn slope(self, h: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(h.clone().neg().add_scalar(1.0).mul(h.clone()))
    }
    fn normalized(self, a: Tensor<2>) -> Result<Tensor<2>> {
        let norms = a.clone().square().sum_dim(1).sqrt();
        Ok(a.div(norms))
    }
    fn sum_rows(self, a: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.clone().sum_dim(0))
    }
    fn sum(self, a: Tensor<2>) -> Result<f32> {
        Ok(a.sum().into_scalar::<f32>())
    }
    fn argmax(self, a: Tensor<2>) -> Result<Vec<usize>> {
        let labels = a.argmax(1).into_data().iter::<i64>().map(|label| label as usize).collect();
        Ok(labels)
    }

    fn select(self, a: &Tensor<2>, ids: &Tensor<1, Int>) -> Result<Tensor<2>> {
        Ok(a.clone().select(0, ids.clone()))
    }
    fn gathered(self, rows: usize, ids: &Tensor<1, Int>, a: &Tensor<2>) -> Result<Tensor<2>> {
        let zeros = Tensor::zeros([rows, a.dims()[1]], &Device::flex());
        Ok(zeros.select_assign(0, ids.clone(), a.clone(), IndexingUpdateOp::Add))
    }
    fn replace(self, a: Tensor<2>, ids: &Tensor<1, Int>, rows: &Tensor<2>) -> Result<Tensor<2>> {
        Ok(a.select_assign(0, ids.clone(), rows.clone(), IndexingUpdateOp::Assign))
    }
}
