//! Stochastic gradient descent on weights that stay in the kernels' layout.

use std::time::Instant;

use elman::{Error, Feedback, Labelled, Learner, Params, Shape};
use fearless_simd::Simd;

use crate::isa::{Cpu, Task};
use crate::matrix::padded;
use crate::num::Num;
use crate::pool::Pool;
use crate::sentence::{self, Seen};
use crate::team::{Choice, Member, Team};
use crate::weights::Weights;
use crate::{batch, check_batch};

pub(crate) struct FastLearner<T: Num> {
    cpu: Cpu,
    pool: Pool,
    state: State<T>,
    choice: Choice,
}

struct State<T: Num> {
    weights: Weights<T>,
    /// One for each member of a team.
    scratch: Vec<sentence::Scratch<T>>,
    team: Team<T>,
    batch: batch::Scratch<T>,
    seen: Seen,
}

impl<T: Num> FastLearner<T> {
    pub(crate) fn new(cpu: Cpu, pool: Pool, params: &Params<T>) -> Result<Self, Error> {
        let state = State {
            weights: Weights::new(params)?,
            scratch: vec![sentence::Scratch::new()],
            team: Team::new(),
            batch: batch::Scratch::new(),
            seen: Seen::new(),
        };
        Ok(FastLearner { cpu, pool, state, choice: Choice::new() })
    }
}

impl<T: Num> Learner<T> for FastLearner<T> {
    fn step(&mut self, batch: &[Labelled], learning_rate: T) -> Result<T, Error> {
        check_batch(batch, &self.state.weights.shape)?;
        let [sentence] = batch else {
            let (cpu, threads) = (self.cpu, self.pool.threads());
            let step = BatchStep { state: &mut self.state, batch, learning_rate, threads };
            return Ok(self.pool.run(|| cpu.run(step)));
        };
        let members = self.members(sentence);
        if members == 1 {
            return Ok(self.cpu.run(SentenceStep { state: &mut self.state, sentence, learning_rate }));
        }
        // Only one team at a time: members that wait for others must all have a thread.
        let pool = self.pool.clone();
        let turn = pool.try_turn();
        let start = Instant::now();
        let loss = if turn.is_some() && self.choice.together() {
            self.team_step(members, sentence, learning_rate)
        } else {
            self.cpu.run(SentenceStep { state: &mut self.state, sentence, learning_rate })
        };
        if turn.is_some() {
            self.choice.count(sentence.labels().len(), start);
        }
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.state.weights.to_params()
    }
}

/// A step of one sentence, alone.
struct SentenceStep<'a, T: Num> {
    state: &'a mut State<T>,
    sentence: &'a Labelled,
    learning_rate: T,
}

impl<T: Num> Task for SentenceStep<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let State { weights, scratch, seen, .. } = self.state;
        let (words, labels) = (self.sentence.sentence().words(), self.sentence.labels());
        let scale = scale(self.learning_rate, words);
        let (scratch, member) = (&mut scratch[0], &mut Member::alone());
        sentence::forward(simd, member, weights, words, scratch);
        let loss = sentence::backward(simd, member, weights, labels, scale, scratch);
        sentence::apply(simd, words, scratch, weights);
        sentence::normalise(simd, words.iter().copied(), seen, weights);
        loss
    }
}

/// The factor of the gradient's sum over the words in an update.
fn scale<T: Num>(learning_rate: T, words: &[usize]) -> T {
    -learning_rate / T::from_f64(words.len() as f64)
}

impl<T: Num> FastLearner<T> {
    /// How many threads may compute a sentence together: no more than leave each two vectors of hidden
    /// units, and one where the sentence is too small to gain or the network is Jordan's.
    fn members(&self, sentence: &Labelled) -> usize {
        let shape = &self.state.weights.shape;
        if shape.feedback == Feedback::Output {
            return 1;
        }
        let work = sentence.labels().len() * shape.hidden * (shape.input() + shape.hidden + shape.classes);
        if work < 300_000 { 1 } else { self.pool.threads().min(shape.hidden.div_ceil(2 * T::LANES)) }
    }

    /// A step of one sentence by several threads: what is read is read by all, then each writes its rows.
    fn team_step(&mut self, members: usize, sentence: &Labelled, learning_rate: T) -> T {
        let State { weights, scratch, team, seen, .. } = &mut self.state;
        let (words, labels) = (sentence.sentence().words(), sentence.labels());
        let scale = scale(learning_rate, words);
        let shape = weights.shape;
        // A state, all scores, all derivatives by the embeddings: what one exchange has at most.
        let widest = padded::<T>(shape.hidden)
            .max(words.len() * padded::<T>(shape.classes))
            .max((words.len() + 1) * shape.embed);
        team.begin(members, 2 * words.len() + 4, widest);
        scratch.resize_with(scratch.len().max(members), sentence::Scratch::new);
        let (cpu, team) = (self.cpu, &*team);

        let (first, others) = scratch.split_at_mut(1);
        let read = |member: usize, scratch: &mut sentence::Scratch<T>| {
            cpu.run(Read { member: team.member(member), weights, words, labels, scale, scratch })
        };
        let loss = self.pool.with_others(
            others[..members - 1].iter_mut().enumerate(),
            |(i, scratch)| {
                read(i + 1, scratch);
            },
            || read(0, &mut first[0]),
        );

        let mut parts = sentence::parts(weights, members).into_iter();
        let own = parts.next().expect("a part for each member");
        let write = |scratch: &sentence::Scratch<T>, part: sentence::Part<'_, T>| {
            cpu.run(Write { shape: &shape, words: words.len(), scratch, part });
        };
        self.pool.with_others(
            scratch[1..members].iter().zip(parts),
            |(scratch, part)| write(scratch, part),
            || write(&scratch[0], own),
        );
        cpu.run(Finish { words, scratch: &scratch[0], weights, seen });
        loss
    }
}

/// One member's part of a step up to where the weights change.
struct Read<'a, 's, T: Num> {
    member: Member<'a, T>,
    weights: &'a Weights<T>,
    words: &'a [usize],
    labels: &'a [usize],
    scale: T,
    scratch: &'s mut sentence::Scratch<T>,
}

impl<T: Num> Task for Read<'_, '_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) -> T {
        let Read { weights, words, labels, scale, .. } = self;
        sentence::forward(simd, &mut self.member, weights, words, self.scratch);
        sentence::backward(simd, &mut self.member, weights, labels, scale, self.scratch)
    }
}

/// One member's part of the change.
struct Write<'a, 'p, T: Num> {
    shape: &'a Shape,
    words: usize,
    scratch: &'a sentence::Scratch<T>,
    part: sentence::Part<'p, T>,
}

impl<T: Num> Task for Write<'_, '_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        sentence::apply_part(simd, self.shape, self.words, self.scratch, self.part);
    }
}

/// What is left of the change.
struct Finish<'a, T: Num> {
    words: &'a [usize],
    scratch: &'a sentence::Scratch<T>,
    weights: &'a mut Weights<T>,
    seen: &'a mut Seen,
}

impl<T: Num> Task for Finish<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        sentence::apply_vectors(simd, self.words, self.scratch, self.weights);
        sentence::normalise(simd, self.words.iter().copied(), self.seen, self.weights);
    }
}

/// A step of several sentences.
struct BatchStep<'a, T: Num> {
    state: &'a mut State<T>,
    batch: &'a [Labelled],
    learning_rate: T,
    threads: usize,
}

impl<T: Num> Task for BatchStep<'_, T> {
    type Output = T;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> T {
        let State { weights, batch: scratch, seen, .. } = self.state;
        let factor = -self.learning_rate / T::from_f64(self.batch.len() as f64);
        let loss = batch::forward_backward(simd, self.threads, weights, self.batch, factor, scratch);
        batch::apply(simd, self.threads, scratch, weights);
        let words = scratch.distinct().words().iter().copied();
        sentence::normalise(simd, words, seen, weights);
        loss
    }
}
