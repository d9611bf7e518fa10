//! Memory that is kept from one call to the next: to map new pages costs more than a small product.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use crate::matrix::{Buffer, Matrix, buffer};
use crate::num::Num;

/// Buffers that are kept, at most: as many as a call of the recurrence has in use, for a few threads.
const MOST: usize = 32;

/// Buffers that nobody uses now, of one number type.
pub(crate) type Free<T> = Mutex<Vec<Buffer<T>>>;

/// The buffers of an implementation and its clones; they are freed with the last of them.
#[derive(Clone, Debug, Default)]
pub struct Kept(Arc<(Free<f32>, Free<f64>)>);

impl Kept {
    pub(crate) fn of_f32(&self) -> &Free<f32> {
        &self.0.0
    }

    pub(crate) fn of_f64(&self) -> &Free<f64> {
        &self.0.1
    }

    /// A matrix of zeros, in the smallest buffer that holds it if there is one.
    pub(crate) fn zeros<T: Num>(&self, rows: usize, cols: usize) -> Lent<T> {
        let buffer = self.take(Matrix::<T>::size(rows, cols)).unwrap_or_else(buffer);
        Lent { matrix: Matrix::zeros_in(buffer, rows, cols), kept: self.clone() }
    }

    /// A matrix whose entries are whatever was there before.
    pub(crate) fn stale<T: Num>(&self, rows: usize, cols: usize) -> Lent<T> {
        let buffer = self.take(Matrix::<T>::size(rows, cols)).unwrap_or_else(buffer);
        Lent { matrix: Matrix::stale_in(buffer, rows, cols), kept: self.clone() }
    }

    /// The smallest free buffer for so many numbers.
    fn take<T: Num>(&self, size: usize) -> Option<Buffer<T>> {
        let mut free = T::free(self).lock().unwrap_or_else(PoisonError::into_inner);
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= size);
        let smallest = fits.min_by_key(|(_, buffer)| buffer.capacity()).map(|(i, _)| i);
        smallest.map(|i| free.swap_remove(i))
    }
}

/// A matrix whose memory goes back to where it came from.
pub(crate) struct Lent<T: Num> {
    matrix: Matrix<T>,
    kept: Kept,
}

impl<T: Num> Deref for Lent<T> {
    type Target = Matrix<T>;

    fn deref(&self) -> &Matrix<T> {
        &self.matrix
    }
}

impl<T: Num> DerefMut for Lent<T> {
    fn deref_mut(&mut self) -> &mut Matrix<T> {
        &mut self.matrix
    }
}

impl<T: Num> Drop for Lent<T> {
    fn drop(&mut self) {
        let matrix = std::mem::replace(&mut self.matrix, Matrix::zeros(0, 0));
        let mut free = T::free(&self.kept).lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < MOST {
            free.push(matrix.into_data());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_as_zeros() {
        let kept = Kept::default();
        let mut first = kept.zeros::<f32>(3, 20);
        first.data_mut().fill(f32::NAN);
        let at = first.data().as_ptr();
        drop(first);
        let larger = kept.zeros::<f32>(30, 20);
        assert_ne!(larger.data().as_ptr(), at);
        let again = kept.zeros::<f32>(2, 17);
        assert_eq!(again.data().as_ptr(), at, "the buffer that fits is used again");
        assert!(again.data().iter().all(|v| *v == 0.0));
        assert_eq!((again.cols(), again.stride()), (17, 32));
        drop((larger, again));
        assert_eq!(kept.of_f32().lock().unwrap().len(), 2);
        assert!(kept.of_f64().lock().unwrap().is_empty());
    }
}
