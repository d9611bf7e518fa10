//! Our side of the comparison: answers each request, a line of JSON on the standard input, with a line of
//! JSON on the standard output. `peers/README.md` describes the protocol.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use elman::ndarray::ArrayD;
use elman::{Batch, Learner, Recurrence, RecurrenceGradient, Sequences, Update};
use elman_benches::protocol::{Failure, Hello, Inputs, Labeller, Run, System, Trainer, WORKS, serve};
use elman_benches::{Kernel, Workload, kernel, kernels};

/// Answers the requests of the comparison with one implementation of the network.
#[derive(Parser)]
struct Arguments {
    /// Names the implementations that this CPU can run, and ends.
    #[arg(long)]
    list: bool,
    /// The implementation.
    #[arg(long, default_value = "reference")]
    kernel: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome: Result<(), Failure> = if arguments.list {
        kernels().iter().try_for_each(|kernel| writeln!(io::stdout(), "{}", kernel.name)).map_err(Into::into)
    } else {
        kernel(&arguments.kernel).map_err(Into::into).and_then(|kernel| Ok(serve(&Ours(kernel))?))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

struct Ours(Kernel);

impl System for Ours {
    fn hello(&self) -> Hello {
        Hello {
            name: self.0.name.clone(),
            what: "elman".to_string(),
            versions: [("elman".to_string(), env!("CARGO_PKG_VERSION").to_string())].into(),
            works: WORKS.to_vec(),
            unchecked: Vec::new(),
        }
    }

    fn trainer<'a>(
        &'a self,
        workload: &'a Workload,
        batches: Vec<Batch<'a>>,
    ) -> Result<Box<dyn Trainer + 'a>, Failure> {
        Ok(Box::new(Training { learner: self.0.network.learner(workload.params.clone())?, batches }))
    }

    fn tagger(&self, workload: &Workload) -> Result<Box<dyn Labeller>, Failure> {
        Ok(Box::new(self.0.network.tagger(&workload.trained)?))
    }

    fn recurrence<'a>(&'a self, inputs: &'a Inputs) -> Result<Box<dyn Run + 'a>, Failure> {
        Ok(Box::new(Alone {
            recurrence: self.0.recurrence.as_ref(),
            inputs,
            lengths: vec![inputs.steps; inputs.batch],
            gradient: RecurrenceGradient::default(),
        }))
    }
}

struct Training<'a> {
    learner: Box<dyn Learner<f32>>,
    batches: Vec<Batch<'a>>,
}

impl Trainer for Training<'_> {
    fn epoch(&mut self, lr: f32) -> Result<f64, Failure> {
        let mut losses = 0.0;
        for batch in &self.batches {
            losses += f64::from(self.learner.step(*batch, &mut Update::sgd(lr))?) * batch.len() as f64;
        }
        Ok(losses)
    }
}

struct Alone<'a> {
    recurrence: &'a dyn Recurrence<f32>,
    inputs: &'a Inputs,
    lengths: Vec<usize>,
    /// Of the last call; the next one writes over it.
    gradient: RecurrenceGradient<f32>,
}

impl Run for Alone<'_> {
    fn run(&mut self, backward: bool) -> Result<(), Failure> {
        let Inputs { params, xs, dh, .. } = black_box(self.inputs);
        let (layer, xs) = (params.layer(), Sequences::new(xs.view(), &self.lengths)?);
        if backward {
            let trace = self.recurrence.vjp(layer, &xs)?;
            trace.backward_into(dh.view(), None, black_box(&mut self.gradient))?;
        } else {
            black_box(self.recurrence.forward(layer, &xs)?);
        }
        Ok(())
    }

    fn results(&mut self, backward: bool) -> Result<Vec<(&'static str, ArrayD<f32>)>, Failure> {
        let Inputs { params, xs, dh, .. } = self.inputs;
        let (layer, xs) = (params.layer(), Sequences::new(xs.view(), &self.lengths)?);
        if !backward {
            return Ok(vec![("h", self.recurrence.forward(layer, &xs)?.h.into_dyn())]);
        }
        let trace = self.recurrence.vjp(layer, &xs)?;
        trace.backward_into(dh.view(), None, &mut self.gradient)?;
        let RecurrenceGradient { xs, layer, .. } = &self.gradient;
        let mut results = vec![("h", trace.h().to_owned().into_dyn()), ("xs", xs.to_owned().into_dyn())];
        results.extend(layer.tensors().map(|(name, tensor)| (name.as_str(), tensor.to_owned())));
        Ok(results)
    }
}
