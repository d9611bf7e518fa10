//! An implementation of one's own, through the judge with one call.
//!
//! [`Mine`] is the network in matrix products over the whole sentence; a GPU kernel would stand in its place.
//! `elman_verify::check` needs nothing of it but the trait [`Network`]. With `mistake` it makes a classic mistake, and
//! the report says so.
#![forbid(unsafe_code)]

use std::io::{self, Write};

use elman::ndarray::{Array1, Array2, Axis, Slice, concatenate};
use elman::{Error, Feedback, Labelled, Learner, Network, Params, Sentence, Shape, Tagger};
use elman_verify::{Options, Report, check};

/// The network by matrix products, in `f64`.
#[derive(Clone, Copy)]
struct Mine {
    /// Takes h0 for a constant: its gradient is left at zero.
    mistake: bool,
}

/// What a sentence went through: `x` `[T, input]`, `h` `[T, hidden]`, `s` `[T, classes]`.
struct Run {
    x: Array2<f64>,
    h: Array2<f64>,
    s: Array2<f64>,
    /// `-ln s[t][j]` without the loss of digits that the logarithm of a small number brings.
    surprise: Array2<f64>,
}

fn run(params: &Params<f64>, shape: &Shape, sentence: &Sentence) -> Run {
    let words = sentence.words().len();
    let mut x = Array2::zeros((words, shape.input()));
    for (t, mut row) in x.rows_mut().into_iter().enumerate() {
        for (mut part, word) in row.exact_chunks_mut(shape.embed).into_iter().zip(sentence.context(t, shape))
        {
            part.assign(&params.emb.row(word));
        }
    }
    let mut h = x.dot(&params.wx) + &params.bh;
    let mut h_prev = params.h0.clone();
    for mut row in h.rows_mut() {
        row += &h_prev.dot(&params.wh);
        row.mapv_inplace(|z| 1.0 / (1.0 + (-z).exp()));
        h_prev.assign(&row);
    }
    let mut surprise = h.dot(&params.w) + &params.b;
    for mut row in surprise.rows_mut() {
        let most = row.fold(f64::NEG_INFINITY, |most, y| most.max(*y));
        let log_sum = most + row.fold(0.0, |sum, y| sum + (y - most).exp()).ln();
        row.mapv_inplace(|y| log_sum - y);
    }
    Run { x, h, s: surprise.mapv(|y| (-y).exp()), surprise }
}

/// The shape of parameters that fit together, and of the one network that is written here.
fn shape_of(params: &Params<f64>) -> Result<Shape, Error> {
    let shape = params.shape()?;
    shape.feedback.only_elman("mine")?;
    Ok(shape)
}

impl Mine {
    /// The loss of one sentence; adds `share` times its gradient.
    fn add(
        &self,
        params: &Params<f64>,
        shape: &Shape,
        one: &Labelled,
        share: f64,
        grad: &mut Params<f64>,
    ) -> f64 {
        let Run { x, h, s, surprise } = run(params, shape, one.sentence());
        let (words, labels) = (one.labels().len(), one.labels());
        let loss =
            labels.iter().enumerate().map(|(t, label)| surprise[[t, *label]]).sum::<f64>() / words as f64;

        let mut ds = s;
        for (t, label) in labels.iter().enumerate() {
            ds[[t, *label]] -= 1.0;
        }
        ds *= share / words as f64;
        grad.w += &h.t().dot(&ds);
        grad.b += &ds.sum_axis(Axis(0));

        // From the last word to the first: what reaches h[t] from its label and from h[t+1].
        let mut dz = ds.dot(&params.w.t());
        let mut dh_next = Array1::zeros(shape.hidden);
        for t in (0..words).rev() {
            let mut row = dz.row_mut(t);
            row += &dh_next;
            row.zip_mut_with(&h.row(t), |dz, h| *dz *= h * (1.0 - h));
            dh_next = params.wh.dot(&row);
        }
        if !self.mistake {
            grad.h0 += &dh_next;
        }
        let but_last = h.slice_axis(Axis(0), Slice::from(..words - 1));
        let h_prev = concatenate![Axis(0), params.h0.view().insert_axis(Axis(0)), but_last];
        grad.wx += &x.t().dot(&dz);
        grad.wh += &h_prev.t().dot(&dz);
        grad.bh += &dz.sum_axis(Axis(0));
        for (t, dx) in dz.dot(&params.wx.t()).rows().into_iter().enumerate() {
            for (part, word) in dx.exact_chunks(shape.embed).into_iter().zip(one.sentence().context(t, shape))
            {
                let mut row = grad.emb.row_mut(word);
                row += &part;
            }
        }
        loss
    }
}

impl Network<f64> for Mine {
    fn name(&self) -> String {
        if self.mistake { "mine, h0 taken for a constant" } else { "mine" }.to_string()
    }

    fn predict(&self, params: &Params<f64>, sentence: &Sentence) -> Result<Array2<f64>, Error> {
        let shape = shape_of(params)?;
        sentence.check(&shape)?;
        Ok(run(params, &shape, sentence).s)
    }

    fn gradient(
        &self,
        params: &Params<f64>,
        batch: &[Labelled],
        grad: &mut Params<f64>,
    ) -> Result<f64, Error> {
        // Everything that can be refused is refused before anything is written.
        let shape = shape_of(params)?;
        grad.check(&shape)?;
        if batch.is_empty() {
            return Err(Error::shape("batch", "at least 1 sentence", 0));
        }
        batch.iter().try_for_each(|one| one.check(&shape))?;
        for (_, mut tensor) in grad.tensors_mut() {
            tensor.fill(0.0);
        }
        let share = 1.0 / batch.len() as f64;
        Ok(batch.iter().map(|one| share * self.add(params, &shape, one, share, grad)).sum())
    }

    fn learner(&self, params: Params<f64>) -> Result<Box<dyn Learner<f64>>, Error> {
        let grad = Params::zeros(shape_of(&params)?)?;
        Ok(Box::new(Descent { mine: *self, params, grad }))
    }

    fn tagger(&self, params: &Params<f64>) -> Result<Box<dyn Tagger>, Error> {
        shape_of(params)?;
        Ok(Box::new(Labeller { params: params.clone() }))
    }
}

struct Descent {
    mine: Mine,
    params: Params<f64>,
    grad: Params<f64>,
}

impl Learner<f64> for Descent {
    fn step(&mut self, batch: &[Labelled], learning_rate: f64) -> Result<f64, Error> {
        let loss = self.mine.gradient(&self.params, batch, &mut self.grad)?;
        for ((_, mut tensor), (_, gradient)) in self.params.tensors_mut().into_iter().zip(self.grad.tensors())
        {
            tensor.scaled_add(-learning_rate, &gradient);
        }
        let shape = self.params.shape()?;
        let words = batch.iter().flat_map(|one| one.sentence().words()).copied();
        let mut changed: Vec<usize> = words.chain((shape.window > 1).then_some(shape.padding())).collect();
        changed.sort_unstable();
        changed.dedup();
        for word in changed {
            let mut row = self.params.emb.row_mut(word);
            let norm = row.dot(&row).sqrt();
            if norm > 0.0 {
                row /= norm;
            }
        }
        Ok(loss)
    }

    fn params(&self) -> Params<f64> {
        self.params.clone()
    }
}

struct Labeller {
    params: Params<f64>,
}

impl Tagger for Labeller {
    fn label(&mut self, sentence: &Sentence, labels: &mut Vec<usize>) -> Result<(), Error> {
        let s = Mine { mistake: false }.predict(&self.params, sentence)?;
        labels.clear();
        // Of equally probable labels the first wins.
        labels.extend(
            s.rows()
                .into_iter()
                .map(|s| (1..s.len()).fold(0, |best, j| if s[j] > s[best] { j } else { best })),
        );
        Ok(())
    }
}

/// The one call. Fewer cases than by default, for an example is to take seconds; and none of a Jordan network, which
/// this implementation refuses.
fn judge(mine: Mine) -> Report {
    check::<f64>(&mine, &Options::new().cases(10).feedback(Feedback::Hidden))
}

fn main() -> io::Result<()> {
    for mistake in [false, true] {
        writeln!(io::stdout(), "{}", judge(Mine { mistake }))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judge_says_what_the_book_shows() {
        let [right, wrong] = [false, true].map(|mistake| judge(Mine { mistake }));
        right.assert_passed();
        assert!(wrong.failures.iter().any(|failure| failure.message.contains(": h0")), "{wrong}");
        elman_examples::assert_shown(
            include_str!("../docs/downstream.md"),
            "cargo run -p elman-examples --example own_implementation",
            &format!("{right}\n{wrong}\n"),
        );
    }
}
