//! An implementation written for these tests, whose sums can be taken in many orders, with switches that break it.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use elman::ndarray::{Array2, ArrayView1, ArrayView2, ArrayViewMutD};
use elman::{
    Adam, Batch, Direction, Error, Feedback, Float, Layer, LayerParams, Layout, Learner, Name, Network,
    Params, Recurrence, RecurrenceGradient, Sentence, Sequences, Shape, States, Tagger, Trace, Update,
    check_backward, check_places,
};

use super::mutation::{AdamFault, Fault, Mutation, Mutation::*, Object, Order, Size, Step};

/// A sound implementation, or a broken one.
#[derive(Clone)]
pub(crate) struct Subject {
    pub(crate) mutation: Mutation,
    pub(crate) order: Order,
    shared: Arc<Shared>,
}

/// The memory of broken objects: of a network, or of an object that should have its own.
#[derive(Default)]
struct Shared {
    calls: AtomicUsize,
    inside: AtomicUsize,
    numbers: Mutex<Vec<f64>>,
}

/// The most states and gates that a cell has.
pub(crate) const STATES: usize = 2;
pub(crate) const GATES: usize = 4;

/// A unit's next states, and the derivatives of each by the parts of its gates and by the states before. States and gates
/// that a cell does not have are 0.
pub(crate) struct Local<T> {
    pub(crate) states: [T; STATES],
    pub(crate) by_x: [[T; GATES]; STATES],
    pub(crate) by_fed: [[T; GATES]; STATES],
    pub(crate) by_before: [[T; STATES]; STATES],
}

impl<T: Float> Local<T> {
    /// Those of a cell without another state.
    pub(crate) fn of_h(h: T, by_x: &[T], by_fed: &[T], by_before: T) -> Self {
        let gates = |by: &[T]| {
            let of_h = std::array::from_fn(|gate| by.get(gate).copied().unwrap_or(T::zero()));
            [of_h, [T::zero(); GATES]]
        };
        let states = |of_h| [of_h, T::zero()];
        Local {
            states: states(h),
            by_x: gates(by_x),
            by_fed: gates(by_fed),
            by_before: [states(by_before), states(T::zero())],
        }
    }
}

/// Makes of a state what is fed back.
type Output<'a, T> = &'a dyn Fn(&[T]) -> Vec<T>;

struct Run<T> {
    /// The inputs, what each step hands on (the initial value first): the states, or a Jordan network's output; the units,
    /// the states h and the outputs.
    x: Vec<Vec<T>>,
    fed: Vec<Vec<T>>,
    units: Vec<Vec<Local<T>>>,
    h: Vec<Vec<T>>,
}

/// A sentence: the runs of all layers in all directions, the states below the output, the scores, the outputs, and of a
/// CRF the logarithms of the sums over the labels of all later words.
struct Whole<T> {
    runs: Vec<Run<T>>,
    h: Vec<Vec<T>>,
    z: Vec<Vec<T>>,
    s: Vec<Vec<T>>,
    later: Vec<Vec<T>>,
}

/// A CRF as its owner sees it.
struct Chain<T> {
    transitions: Vec<Vec<T>>,
    start: Vec<T>,
    end: Vec<T>,
}

fn add_all<T: Float>(rows: &[&[T]]) -> Vec<T> {
    (0..rows[0].len()).map(|i| rows.iter().fold(T::zero(), |sum, row| sum + row[i])).collect()
}

/// `-ln softmax(z)[label]`.
fn negative_log<T: Float>(z: &[T], label: u32) -> T {
    let max = z.iter().fold(z[0], |max, z| if *z > max { *z } else { max });
    let sum = z.iter().fold(T::zero(), |sum, z| sum + (*z - max).exp());
    sum.ln() + (max - z[label as usize])
}

/// Rows in the order in which a direction reads them.
fn in_order<T: Clone>(rows: &[Vec<T>], direction: Direction) -> Vec<Vec<T>> {
    let mut rows = rows.to_vec();
    if direction == Direction::Reverse {
        rows.reverse();
    }
    rows
}

fn real<T: Float>(value: f64) -> T {
    T::from_f64(value)
}

pub(crate) fn sigmoid<T: Float>(a: T) -> T {
    T::one() / (T::one() + (-a).exp())
}

/// 8 bits of significand.
fn bfloat<T: Float>(value: T) -> T {
    real(f64::from(f32::from_bits((value.to_f64() as f32).to_bits().wrapping_add(0x8000) & 0xffff_0000)))
}

fn fused<T: Float>(a: T, b: T, c: T) -> T {
    let (a, b, c) = (a.to_f64(), b.to_f64(), c.to_f64());
    real(if T::NAME == "f32" { a * b + c } else { a.mul_add(b, c) })
}

fn flush<'a, T: Float>(numbers: impl Iterator<Item = &'a mut T>) {
    numbers.filter(|v| v.to_f64().abs() < T::MIN_POSITIVE).for_each(|v| *v = T::zero());
}

/// The first number that is not 0.
fn wrong_in_a_last_bit<'a, T: Float>(mut numbers: impl Iterator<Item = &'a mut T>) {
    if let Some(v) = numbers.find(|v| **v != T::zero()) {
        *v += *v * real(T::EPSILON);
    }
}

impl Fault {
    /// The faults that need nothing but the tensor.
    fn spoil<T: Float>(self, mut tensor: ArrayViewMutD<'_, T>) {
        match self {
            Fault::Dropped => tensor.fill(T::zero()),
            Fault::Doubled => tensor.mapv_inplace(|v| v + v),
            Fault::Negated => tensor.mapv_inplace(|v| -v),
            Fault::LargestEntry => {
                let largest = tensor.iter_mut().max_by(|a, b| a.to_f64().abs().total_cmp(&b.to_f64().abs()));
                *largest.unwrap() *= real(1.001);
            }
            Fault::LastEntry => *tensor.iter_mut().last().unwrap() = T::zero(),
            _ => {}
        }
    }
}

impl Order {
    /// `start + sum of a·b`.
    fn sum<T: Float>(self, pairs: &[(T, T)], start: T) -> T {
        let add = |sum: T, (a, b): (T, T)| if self.fused { fused(a, b, sum) } else { sum + a * b };
        let zero = T::zero();
        let mut pairs = pairs.to_vec();
        if self.reversed {
            pairs.reverse();
        }
        let first = if self.bias_last { zero } else { start };
        let sum = match self.lanes {
            // Pairwise.
            0 => pairwise(&pairs) + first,
            // Blocks of 32, one sum after the other.
            32 => pairs.chunks(32).fold(first, |sum, block| sum + block.iter().copied().fold(zero, add)),
            1 if self.compensated => {
                let (mut sum, mut lost) = (first, zero);
                for (a, b) in pairs {
                    let term = a * b - lost;
                    let next = sum + term;
                    lost = (next - sum) - term;
                    sum = next;
                }
                sum
            }
            lanes => {
                let mut sums = vec![zero; lanes];
                sums[0] = first;
                pairs
                    .into_iter()
                    .enumerate()
                    .for_each(|(i, pair)| sums[i % lanes] = add(sums[i % lanes], pair));
                // Folded in halves.
                while sums.len() > 1 {
                    let half = sums.split_off(sums.len() / 2);
                    sums.iter_mut().zip(half).for_each(|(sum, other)| *sum += other);
                }
                sums[0]
            }
        };
        if self.bias_last { sum + start } else { sum }
    }
}

fn pairwise<T: Float>(pairs: &[(T, T)]) -> T {
    match pairs {
        [] => T::zero(),
        [(a, b)] => *a * *b,
        _ => {
            let (left, right) = pairs.split_at(pairs.len() / 2);
            pairwise(left) + pairwise(right)
        }
    }
}

impl Subject {
    pub(crate) fn new(mutation: Mutation, order: Order) -> Self {
        Subject { mutation, order, shared: Arc::default() }
    }

    /// The same with a memory of its own, unless such objects share it.
    fn object(&self, kind: Object) -> Self {
        match self.mutation {
            MixedUp(of) | EveryCall(of, _) | InThreads(of) if of == kind => self.clone(),
            _ => Subject::new(self.mutation, self.order),
        }
    }

    /// Runs one call on an object, and says whether it is one that goes wrong.
    fn call<R>(&self, kind: Object, work: impl FnOnce() -> R) -> (R, bool) {
        let alone = self.shared.inside.fetch_add(1, SeqCst) == 0;
        let result = work();
        let alone = self.shared.inside.fetch_sub(1, SeqCst) == 1 && alone;
        let call = || self.shared.calls.fetch_add(1, SeqCst) + 1;
        let wrong = match self.mutation {
            EveryCall(of, n) => of == kind && call().is_multiple_of(n),
            AfterCalls(of, n) => of == kind && call() > n,
            InThreads(of) => of == kind && !alone,
            _ => false,
        };
        (result, wrong)
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == mutation
    }

    /// Whether the problem is of the size at which this breaks.
    fn too_large(&self, sizes: &[(Size, usize)]) -> bool {
        let Beyond(limited, limit) = self.mutation else { return false };
        sizes.iter().any(|(size, found)| match limited {
            Size::Multiple => *size == Size::Hidden && found % limit == 0,
            _ => *size == limited && *found > limit,
        })
    }

    fn weight<T: Float>(&self, w: T) -> T {
        let small = w.to_f64().abs() < T::MIN_POSITIVE;
        if small && self.is(SubnormalWeightsFlushed) { T::zero() } else { w }
    }

    /// One step: the units of the next states.
    fn step<T: Float>(&self, t: usize, layer: &Layer<'_, T>, x: &[T], fed: &[T]) -> Vec<Local<T>> {
        let (hidden, gates) = (layer.shape().hidden, layer.cell().gates());
        let (wx, wh) = (layer.wx(), layer.wh());
        let transposed =
            |i: usize, j: usize| if i < wh.ncols() && j < wh.nrows() { wh[[j, i]] } else { wh[[i, j]] };
        (0..hidden)
            .map(|unit| {
                let (mut zx, mut zh) = (Vec::new(), Vec::new());
                for gate in 0..gates {
                    let j = gate * hidden + unit;
                    let mut of_x: Vec<(T, T)> =
                        x.iter().zip(wx.column(j)).map(|(x, w)| (*x, self.weight(*w))).collect();
                    let mut of_fed: Vec<(T, T)> = fed[..wh.nrows()]
                        .iter()
                        .enumerate()
                        .map(|(i, fed)| {
                            let w = if self.is(Sequence(Step::WhTransposed)) {
                                transposed(i, j)
                            } else {
                                wh[[i, j]]
                            };
                            (*fed, self.weight(w))
                        })
                        .collect();
                    if self.is(TailDropped) && of_x.len() > 16 {
                        of_x.truncate(of_x.len() / 16 * 16);
                    }
                    let mut bias = layer.bh()[j];
                    match self.mutation {
                        Sequence(Step::BhMissing) => bias = T::zero(),
                        Sequence(Step::BhTwice) => bias += bias,
                        Sequence(Step::H0EachTime) if t > 0 && unit < layer.h0().len() => {
                            bias += layer.h0()[unit]
                        }
                        _ => {}
                    }
                    let bhn = layer.bhn().filter(|_| gate + 1 == gates).map_or(T::zero(), |bhn| bhn[unit]);
                    if gates == 1 && !self.order.apart {
                        of_x.append(&mut of_fed);
                    }
                    zx.push(self.order.sum(&of_x, bias));
                    zh.push(self.order.sum(&of_fed, bhn));
                }
                let before =
                    std::array::from_fn(|state| fed.get(state * hidden + unit).copied().unwrap_or(T::zero()));
                let mut local = super::units::unit(self.mutation, layer.cell(), &zx, &zh, before);
                if self.is(StatesInHalfPrecision) {
                    local.states = local.states.map(bfloat);
                }
                local
            })
            .collect()
    }

    /// The states of one sequence; `output` makes of a state what is fed back.
    fn states<T: Float>(
        &self,
        layer: &Layer<'_, T>,
        x: Vec<Vec<T>>,
        initial: Vec<T>,
        output: Option<Output<'_, T>>,
    ) -> Run<T> {
        let states = layer.cell().states();
        let mut run = Run { x, fed: vec![initial], units: vec![], h: vec![] };
        match self.mutation {
            Sequence(Step::H0Ignored) => run.fed[0].fill(T::zero()),
            Sequence(Step::StateOfLastCall) => {
                let numbers = self.shared.numbers.lock().unwrap();
                if numbers.len() == run.fed[0].len() {
                    run.fed[0] = numbers.iter().map(|v| real(*v)).collect();
                }
            }
            _ => {}
        }
        for t in 0..run.x.len() {
            let from = match self.mutation {
                Sequence(Step::NotFedBack) => 0,
                Sequence(Step::TwoStepsBefore) => t.saturating_sub(1),
                Sequence(Step::ForgetsAfter(steps)) if t % steps == 0 => 0,
                _ => t,
            };
            let units = self.step(t, layer, &run.x[t], &run.fed[from]);
            let of = |state: usize| units.iter().map(move |unit| unit.states[state]);
            let h: Vec<T> = of(0).collect();
            run.fed.push(output.map_or_else(|| (0..states).flat_map(of).collect(), |output| output(&h)));
            run.units.push(units);
            run.h.push(h);
        }
        if self.is(Sequence(Step::StateOfLastCall)) {
            *self.shared.numbers.lock().unwrap() = run.fed[run.x.len()].iter().map(|v| v.to_f64()).collect();
        }
        run
    }

    /// Back through one sequence: adds to the gradients of the layer, returns those of the inputs and of the initial
    /// states (of a Jordan network of the initial output). `d_of` makes of the gradients that a step carries back those of
    /// the states before it.
    fn back<T: Float, S: Layout>(
        &self,
        layer: &Layer<'_, T>,
        run: &Run<T>,
        after: Vec<T>,
        grad: &mut Params<T, S>,
        mut d_of: impl FnMut(usize, &[T]) -> Vec<T>,
    ) -> (Vec<Vec<T>>, Vec<T>) {
        let (steps, hidden, gates) = (run.x.len(), layer.shape().hidden, layer.cell().gates());
        let mut dx = vec![Vec::new(); steps];
        let mut carry = after;
        for t in (0..steps).rev() {
            match self.mutation {
                Sequence(Step::CarryMissing) if t + 1 < steps => carry.fill(T::zero()),
                Sequence(Step::CarryTwice) => carry.iter_mut().for_each(|c| *c += *c),
                Sequence(Step::CarryStopsAfter(most)) if steps - t > most => carry.fill(T::zero()),
                _ => {}
            }
            let d = d_of(t, &carry);
            let states = d.len() / hidden;
            // The sum over the states of the derivatives by something.
            let sum = |by: &dyn Fn(usize) -> T, unit: usize| {
                let first = by(0) * d[unit];
                (1..states).fold(first, |sum, state| sum + by(state) * d[state * hidden + unit])
            };
            let by = |of: fn(&Local<T>) -> &[[T; GATES]; STATES]| -> Vec<T> {
                let each = (0..gates).flat_map(|gate| (0..hidden).map(move |unit| (gate, unit)));
                each.map(|(gate, unit)| sum(&|state| of(&run.units[t][unit])[state][gate], unit)).collect()
            };
            let (dzx, dzh) = (by(|unit| &unit.by_x), by(|unit| &unit.by_fed));
            for (i, mut row) in grad.matrix_mut(layer.name(Name::Wx)).rows_mut().into_iter().enumerate() {
                row.iter_mut().zip(&dzx).for_each(|(sum, dz)| *sum += run.x[t][i] * *dz);
            }
            let from = if self.is(Sequence(Step::WhGradientOfOwnState)) { t + 1 } else { t };
            for (i, mut row) in grad.matrix_mut(layer.name(Name::Wh)).rows_mut().into_iter().enumerate() {
                row.iter_mut().zip(&dzh).for_each(|(sum, dz)| *sum += run.fed[from][i] * *dz);
            }
            let bh = grad.vector_mut(layer.name(Name::Bh)).into_iter().flatten();
            bh.zip(&dzx).for_each(|(sum, dz)| *sum += *dz);
            if let Some(mut bhn) = grad.vector_mut(layer.name(Name::Bhn)) {
                bhn.iter_mut().zip(&dzh[(gates - 1) * hidden..]).for_each(|(sum, dz)| *sum += *dz);
            }
            let through = |row: ArrayView1<'_, T>, dz: &[T], more: T| {
                let pairs: Vec<(T, T)> = row.iter().zip(dz).map(|(w, dz)| (self.weight(*w), *dz)).collect();
                self.order.sum(&pairs, more)
            };
            dx[t] = layer.wx().rows().into_iter().map(|row| through(row, &dzx, T::zero())).collect();
            let own = |i: usize| {
                let (to, unit) = (i / hidden, i % hidden);
                if run.fed[t].len() != states * hidden {
                    return T::zero();
                }
                sum(&|state| run.units[t][unit].by_before[state][to], unit)
            };
            let fed_back = layer.wh().nrows();
            carry = (0..run.fed[t].len())
                .map(|i| if i < fed_back { through(layer.wh().row(i), &dzh, own(i)) } else { own(i) })
                .collect();
        }
        (dx, carry)
    }

    fn forward<T: Float>(&self, p: &Params<T>, words: &[u32]) -> Whole<T> {
        let shape = p.shape();
        let x = self.ids(&shape, words).into_iter().map(|ids| {
            let row = ids.into_iter().flat_map(|id| {
                let zero = self.is(PaddingReadAsZero) && id == shape.vocab;
                p.emb().row(id).iter().map(|v| if zero { T::zero() } else { *v }).collect::<Vec<_>>()
            });
            row.collect()
        });
        let scores = |h: &[T]| -> Vec<T> {
            let score = |(w, b): (ArrayView1<'_, T>, &T)| {
                let pairs: Vec<(T, T)> = h.iter().copied().zip(w.iter().copied()).collect();
                self.order.sum(&pairs, if self.is(BMissing) { T::zero() } else { *b })
            };
            p.w().columns().into_iter().zip(p.b()).map(score).collect()
        };
        let feedback = if self.is(JordanTakenForElman) && shape.hidden == shape.classes {
            Feedback::Hidden
        } else {
            shape.feedback
        };
        let output =
            |h: &[T]| if self.is(JordanScoresFedBack) { scores(h) } else { self.softmax(&scores(h)) };
        let output = (feedback == Feedback::Output).then_some(&output as Output<'_, T>);
        let mut h: Vec<Vec<T>> = x.collect();
        let mut runs = Vec::new();
        for number in 0..shape.layers {
            let x = std::mem::replace(&mut h, vec![Vec::new(); words.len()]);
            for direction in shape.directions() {
                let layer = p.layer_at(number, *direction);
                let reads = if self.is(ReverseReadsForward) { Direction::Forward } else { *direction };
                let initial = if self.is(H0OfFirstLayer) { p.layer().initial() } else { layer.initial() };
                let run = self.states(&layer, in_order(&x, reads), initial.to_vec(), output);
                let back = if self.is(ReverseLeftReversed) { Direction::Forward } else { reads };
                for (row, states) in h.iter_mut().zip(in_order(&run.h, back)) {
                    row.extend(states);
                }
                runs.push(run);
            }
            if self.is(DirectionsSwapped) {
                h.iter_mut().for_each(|row| {
                    let len = row.len();
                    row.rotate_left(shape.hidden % len)
                });
            }
            if self.is(SecondDirectionUnread) {
                h.iter_mut().for_each(|row| row[shape.hidden..].fill(T::zero()));
            }
        }
        let z: Vec<Vec<T>> = h.iter().map(|h| scores(h)).collect();
        let (s, later) = match self.chain(p) {
            Some(chain) => self.sums(&chain, &z),
            None => (z.iter().map(|z| self.softmax(z)).collect(), Vec::new()),
        };
        let mut run = Whole { runs, h, z, s, later };
        if self.too_large(&[
            (Size::Words, words.len()),
            (Size::Hidden, shape.hidden),
            (Size::Classes, shape.classes),
        ]) || self.too_large(&[(Size::Vocab, shape.vocab), (Size::Window, shape.window)])
        {
            let last = run.s.len() - 1;
            run.s[last][0] *= real(1.01);
        }
        run
    }

    /// The rows of the embeddings in each window.
    fn ids(&self, shape: &Shape, words: &[u32]) -> Vec<Vec<usize>> {
        let half = shape.window / 2;
        let padding = if self.is(PaddingIsFirstRow) { 0 } else { shape.vocab };
        let late = usize::from(self.is(WindowLate));
        let id = |position: usize| {
            let word = position.checked_sub(half).and_then(|position| words.get(position));
            word.map_or(padding, |word| *word as usize)
        };
        let window = |t: usize| (t..t + shape.window).map(|position| id(position + late)).collect::<Vec<_>>();
        let mut ids: Vec<Vec<usize>> = (0..words.len()).map(window).collect();
        if self.is(WindowReversed) {
            ids.iter_mut().for_each(|window| window.reverse());
        }
        if self.is(WordsReversed) {
            ids.reverse();
        }
        ids
    }

    fn softmax<T: Float>(&self, z: &[T]) -> Vec<T> {
        let mut max = z.iter().fold(z[0], |max, z| if *z > max { *z } else { max });
        match self.mutation {
            SoftmaxWithoutMaximum => max = T::zero(),
            LargeScoresClipped => return self.clipped(z),
            _ => {}
        }
        let e: Vec<T> = z.iter().map(|z| (*z - max).exp()).collect();
        let ones: Vec<(T, T)> = e.iter().map(|e| (*e, T::one())).collect();
        let counted = if self.is(SoftmaxTailDropped) && e.len() > 8 { e.len() / 8 * 8 } else { e.len() };
        let sum = self.order.sum(&ones[..counted], T::zero());
        let rough = if self.is(SoftmaxRough) { 1.0 + 2e-5 } else { 1.0 };
        e.into_iter().map(|e| e / sum * real(rough)).collect()
    }

    fn chain<T: Float>(&self, p: &Params<T>) -> Option<Chain<T>> {
        let crf = p.crf()?;
        let mut transitions: Vec<Vec<T>> =
            crf.transitions.rows().into_iter().map(|row| row.to_vec()).collect();
        let (mut start, mut end) = (crf.start.to_vec(), crf.end.to_vec());
        match self.mutation {
            CrfTransposed => {
                transitions = crf.transitions.columns().into_iter().map(|row| row.to_vec()).collect()
            }
            CrfStartIgnored => start.fill(T::zero()),
            CrfEndIgnored => end.fill(T::zero()),
            _ => {}
        }
        Some(Chain { transitions, start, end })
    }

    fn log_sum_exp<T: Float>(&self, z: &[T]) -> T {
        let max = z.iter().fold(z[0], |max, z| if *z > max { *z } else { max });
        if self.is(CrfOfBestSequence) {
            return max;
        }
        let from = if self.is(CrfWithoutMaximum) { T::zero() } else { max };
        let ones: Vec<(T, T)> = z.iter().map(|z| ((*z - from).exp(), T::one())).collect();
        from + self.order.sum(&ones, T::zero()).ln()
    }

    /// The marginal probabilities from the forward and the backward variables of the textbooks; and the latter.
    fn sums<T: Float>(&self, chain: &Chain<T>, z: &[Vec<T>]) -> (Vec<Vec<T>>, Vec<Vec<T>>) {
        let classes = chain.start.len();
        let mut earlier = vec![add_all(&[&chain.start, &z[0]])];
        for t in 1..z.len() {
            let step = |j: usize| {
                let none = self.is(CrfFirstTransitionMissing) && t == 1;
                let between = |i: usize| if none { T::zero() } else { chain.transitions[i][j] };
                let paths: Vec<T> = (0..classes).map(|i| earlier[t - 1][i] + between(i)).collect();
                self.log_sum_exp(&paths)
            };
            let from: Vec<T> = (0..classes).map(step).collect();
            let end = if self.is(CrfEndAtEachWord) { chain.end.clone() } else { vec![T::zero(); classes] };
            earlier.push(add_all(&[&z[t], &from, &end]));
        }
        let mut later = vec![chain.end.clone()];
        for z in z[1..].iter().rev() {
            let after = &later[later.len() - 1];
            let paths = |i: usize| self.log_sum_exp(&add_all(&[&chain.transitions[i], z, after]));
            later.push((0..classes).map(paths).collect());
        }
        later.reverse();
        let s = earlier.iter().zip(&later).zip(z).map(|((earlier, later), z)| match self.mutation {
            CrfScoresOfSoftmax => self.softmax(z),
            CrfScoresOfForward => self.softmax(earlier),
            _ => self.softmax(&add_all(&[earlier, later])),
        });
        (s.collect(), later)
    }

    /// The loss of a sentence with a CRF; adds the gradient of its own tensors.
    fn crf_loss<T: Float>(
        &self,
        chain: &Chain<T>,
        run: &Whole<T>,
        labels: &[u32],
        scale: T,
        grad: &mut Params<T>,
    ) -> T {
        let after = |t: usize, before: &[T]| add_all(&[before, &run.z[t], &run.later[t]]);
        let mut loss = negative_log(&after(0, &chain.start), labels[0]);
        let (classes, last) = (chain.start.len(), labels.len() - 1);
        for t in 1..labels.len() {
            loss += negative_log(&after(t, &chain.transitions[labels[t - 1] as usize]), labels[t]);
            if self.is(CrfPairsOfLastWordMissing) && t == last {
                continue;
            }
            for i in 0..classes {
                let next = match self.mutation {
                    CrfPairsIndependent => run.s[t].clone(),
                    _ => self.softmax(&after(t, &chain.transitions[i])),
                };
                for (j, p) in next.into_iter().enumerate() {
                    let gold = i == labels[t - 1] as usize && j == labels[t] as usize;
                    let pair = run.s[t - 1][i] * p - if gold { T::one() } else { T::zero() };
                    let place = if self.is(CrfTransposed) { [j, i] } else { [i, j] };
                    grad.matrix_mut(Name::Transitions)[place] += pair * scale;
                }
            }
        }
        if self.is(CrfLossOfMarginals) {
            let of = |(s, label): (&Vec<T>, &u32)| -s[*label as usize].ln();
            loss = run.s.iter().zip(labels).map(of).fold(T::zero(), |sum, loss| sum + loss);
        }
        let ignored = [self.is(CrfStartIgnored), self.is(CrfEndIgnored)];
        for ((name, t), ignored) in [(Name::Start, 0), (Name::End, last)].into_iter().zip(ignored) {
            let mut to = grad.vector_mut(name).filter(|_| !ignored);
            for (j, to) in to.iter_mut().flatten().enumerate() {
                let gold = if j == labels[t] as usize { T::one() } else { T::zero() };
                *to += (run.s[t][j] - gold) * scale;
            }
        }
        loss
    }

    /// The labels of a sentence with a CRF.
    fn sequence<T: Float>(&self, chain: &Chain<T>, z: &[Vec<T>]) -> Vec<usize> {
        let better = |a: T, b: T| a > b || self.is(CrfLabelsLastOfTies) && a == b;
        let best =
            |row: &[T]| (1..row.len()).fold(0, |best, j| if better(row[j], row[best]) { j } else { best });
        let mut scores = add_all(&[&chain.start, &z[0]]);
        let mut before: Vec<Vec<usize>> = Vec::new();
        let mut greedy = vec![best(&scores)];
        for z in &z[1..] {
            let paths = |j: usize| -> Vec<T> {
                scores.iter().zip(&chain.transitions).map(|(score, row)| *score + row[j]).collect()
            };
            let from: Vec<usize> = (0..z.len()).map(|j| best(&paths(j))).collect();
            let next: Vec<T> = from.iter().enumerate().map(|(j, from)| z[j] + paths(j)[*from]).collect();
            let own = &chain.transitions[greedy[greedy.len() - 1]];
            greedy.push(best(&add_all(&[own, z])));
            before.push(from);
            scores = next;
        }
        if self.is(CrfLabelsGreedy) {
            return greedy;
        }
        if !self.is(CrfLabelsWithoutEnd) {
            scores = add_all(&[&scores, &chain.end]);
        }
        let mut labels = vec![best(&scores)];
        for before in before.iter().rev() {
            labels.push(before[labels[labels.len() - 1]]);
        }
        labels.reverse();
        labels
    }

    fn clipped<T: Float>(&self, z: &[T]) -> Vec<T> {
        let limit = |z: &T| if z.to_f64().abs() > 1e6 { real(z.to_f64().signum() * 1e6) } else { *z };
        Subject::new(Sound, self.order).softmax(&z.iter().map(limit).collect::<Vec<_>>())
    }

    /// Adds the gradient of a sentence, and returns its loss.
    fn add_sentence<T: Float>(
        &self,
        p: &Params<T>,
        sentence: Sentence<'_>,
        share: T,
        grad: &mut Params<T>,
    ) -> T {
        let (shape, Sentence { words, labels }) = (p.shape(), sentence);
        let run = self.forward(p, words);
        let mean: T = if self.is(MeanForgotten) { T::one() } else { T::one() / real(words.len() as f64) };
        let mut loss = T::zero();
        let chain = self.chain(p);
        if let Some(chain) = &chain {
            loss = self.crf_loss(chain, &run, labels, mean * share, grad) * mean;
        }
        for (z, label) in run.z.iter().zip(labels).filter(|_| chain.is_none()) {
            let max = z.iter().fold(z[0], |max, z| if *z > max { *z } else { max });
            let sum = z.iter().fold(T::zero(), |sum, z| sum + (*z - max).exp());
            loss += match self.mutation {
                LossOfUnderflow => -self.softmax(z)[*label as usize].ln(),
                LossOfLogBase2 => (sum.ln() + (max - z[*label as usize])) / real(std::f64::consts::LN_2),
                _ => sum.ln() + (max - z[*label as usize]),
            } * mean;
        }
        let (mut grad_w, mut grad_b) = (p.w().to_owned(), p.b().to_owned());
        grad_w.fill(T::zero());
        grad_b.fill(T::zero());
        let last = words.len() - 1;
        let is_jordan = shape.feedback == Feedback::Output;
        let dx = {
            let mut dh_of = |t: usize, carry: &[T]| -> Vec<T> {
                let mut dz: Vec<T> = run.s[t].iter().map(|s| *s * mean * share).collect();
                if !self.is(TargetMissing) {
                    dz[labels[t] as usize] = (run.s[t][labels[t] as usize] - T::one()) * mean * share;
                }
                if is_jordan {
                    let dot = run.s[t].iter().zip(carry).fold(T::zero(), |sum, (s, c)| sum + *s * *c);
                    for ((dz, s), c) in dz.iter_mut().zip(&run.s[t]).zip(carry) {
                        *dz += match self.mutation {
                            JordanSoftmaxForgotten => *c,
                            JordanMeanForgotten => *s * *c,
                            JordanSoftmaxDiagonal => *s * (T::one() - *s) * *c,
                            _ => *s * (*c - dot),
                        };
                    }
                }
                grad_b.iter_mut().zip(&dz).for_each(|(sum, dz)| *sum += *dz);
                let row = if self.is(WGradientOfPreviousState) { t.saturating_sub(1) } else { t };
                for (mut sums, h) in grad_w.rows_mut().into_iter().zip(&run.h[row]) {
                    sums.iter_mut().zip(&dz).for_each(|(sum, dz)| *sum += *h * *dz);
                }
                let last_step_alone = self.is(LastStepOnly) && t < last;
                p.w()
                    .rows()
                    .into_iter()
                    .map(|row| {
                        let pairs: Vec<(T, T)> = row.iter().copied().zip(dz.iter().copied()).collect();
                        if last_step_alone { T::zero() } else { self.order.sum(&pairs, T::zero()) }
                    })
                    .collect()
            };
            let mut above: Vec<Vec<T>> = match is_jordan {
                true => Vec::new(),
                false => (0..words.len()).map(|t| dh_of(t, &[])).collect(),
            };
            let directions = shape.directions().len();
            for number in (0..shape.layers).rev() {
                if self.is(LowerLayersFrozen) && number + 1 < shape.layers {
                    above.iter_mut().flatten().for_each(|d| *d = T::zero());
                }
                let mut dx = vec![vec![T::zero(); shape.layer(number).input]; words.len()];
                for (place, direction) in shape.directions().iter().enumerate() {
                    let layer = p.layer_at(number, *direction);
                    let run = &run.runs[number * directions + place];
                    let after = vec![T::zero(); layer.initial().len()];
                    let d_of = |t: usize, carry: &[T]| {
                        if is_jordan {
                            return dh_of(t, carry);
                        }
                        let turned = *direction == Direction::Reverse && !self.is(ReverseGradientForward);
                        let dh = &above[if turned { last - t } else { t }][place * shape.hidden..];
                        let mut d = carry.to_vec();
                        d.iter_mut().zip(&dh[..shape.hidden]).for_each(|(d, dh)| *d += *dh);
                        d
                    };
                    let (by_x, dinitial) = self.back(&layer, run, after, grad, d_of);
                    add_initial(&layer, grad, &dinitial);
                    if self.is(SecondDirectionsInputUntrained) && place == 1 {
                        continue;
                    }
                    for (sum, by_x) in dx.iter_mut().zip(in_order(&by_x, *direction)) {
                        sum.iter_mut().zip(by_x).for_each(|(sum, d)| *sum += d);
                    }
                }
                above = dx;
            }
            above
        };
        let mut w = grad.w_mut();
        w += &grad_w;
        let mut b = grad.b_mut();
        b += &grad_b;
        for (ids, dx) in self.ids(&shape, words).into_iter().zip(dx) {
            for (slot, (id, dx)) in ids.into_iter().zip(dx.chunks(shape.embed)).enumerate() {
                let centre = slot == shape.window / 2;
                if self.is(CentreWordOnly) && !centre || self.is(PaddingGradientSkipped) && id == shape.vocab
                {
                    continue;
                }
                for (sum, dx) in grad.emb_mut().row_mut(id).iter_mut().zip(dx) {
                    *sum = if self.is(RepeatedWordOverwritten) { *dx } else { *sum + *dx };
                }
            }
        }
        loss
    }

    fn sum_of_batch<T: Float>(&self, p: &Params<T>, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> T {
        let halves = match self.mutation {
            TreeForgotten => None,
            TreeUnbalanced if batch.len() > Batch::CHUNK => {
                Some((batch.slice(0..Batch::CHUNK), batch.slice(Batch::CHUNK..batch.len())))
            }
            _ => batch.halves(),
        };
        let Some((left, right)) = halves else {
            let mut seen: Vec<Sentence<'_>> = Vec::new();
            return batch.iter().fold(T::zero(), |loss, sentence| {
                let again = seen.contains(&sentence);
                seen.push(sentence);
                if again && self.is(SameSentenceOnce) {
                    return loss;
                }
                loss + self.add_sentence(p, sentence, share, grad)
            });
        };
        let mut by_right = Params::zeros(p.shape()).unwrap();
        let loss =
            self.sum_of_batch(p, left, share, grad) + self.sum_of_batch(p, right, share, &mut by_right);
        grad.as_mut_slice().iter_mut().zip(by_right.as_slice()).for_each(|(sum, right)| *sum += *right);
        loss
    }

    fn gradient_of<T: Float>(
        &self,
        p: &Params<T>,
        batch: Batch<'_>,
        share: T,
        grad: &mut Params<T>,
    ) -> Result<T, Error> {
        let shape = p.shape();
        if self.is(ClearedBeforeChecks) {
            grad.as_mut_slice().fill(T::zero());
        }
        match self.mutation {
            GradReplaced if grad.shape() != shape => *grad = Params::zeros(shape)?,
            _ => grad.check(shape)?,
        }
        if self.is(EmptyBatchAccepted) && batch.is_empty() {
            return Ok(T::zero());
        }
        self.check(batch, &shape)?;
        if !self.is(GradNotCleared) {
            grad.as_mut_slice().fill(T::zero());
        }
        let batch = match self.mutation {
            FirstSentenceOnly => batch.slice(0..1),
            LastSentenceDropped if batch.len() > 1 => batch.slice(0..batch.len() - 1),
            _ => batch,
        };
        let used = if self.is(ShareIgnored) { T::one() / real(batch.len() as f64) } else { share };
        let (sum, wrong) = self.call(Object::Learner, || self.sum_of_batch(p, batch, used, grad));
        let loss = used * sum;
        if self.too_large(&[(Size::Sentences, batch.len()), (Size::Hidden, shape.hidden)]) {
            grad.b_mut()[0] += used * real(0.01);
        }
        self.break_tensor(p, batch, used, grad);
        if self.is(GradientInHalfPrecision) {
            grad.as_mut_slice().iter_mut().for_each(|v| *v = bfloat(*v));
        }
        if self.is(GradientFlushed) {
            flush(grad.as_mut_slice().iter_mut());
        }
        if wrong {
            wrong_in_a_last_bit(grad.as_mut_slice().iter_mut().rev());
        }
        Ok(loss)
    }

    /// The faults of one tensor of a gradient.
    fn break_tensor<T: Float>(&self, p: &Params<T>, batch: Batch<'_>, share: T, grad: &mut Params<T>) {
        let (name, fault) = match self.mutation {
            Tensor(name, fault) => (name, fault),
            _ => return,
        };
        let last = if fault == Fault::LastSentence && batch.len() > 1 {
            let mut last = Params::zeros(p.shape()).unwrap();
            self.add_sentence(p, batch.sentence(batch.len() - 1), share, &mut last);
            Some(last)
        } else {
            None
        };
        let Some(mut tensor) = grad.tensor_mut(name) else { return };
        match fault {
            Fault::LastSentence => {
                if let Some(last) = last {
                    tensor.assign(&last.tensor(name).unwrap());
                }
            }
            Fault::LeftForNextCall => {
                let mut numbers = self.shared.numbers.lock().unwrap();
                if numbers.len() == tensor.len() {
                    tensor.iter_mut().zip(&*numbers).for_each(|(v, more)| *v += real(*more));
                }
                *numbers = tensor.iter().map(|v| v.to_f64()).collect();
            }
            _ => fault.spoil(tensor),
        }
    }

    fn check(&self, batch: Batch<'_>, shape: &Shape) -> Result<(), Error> {
        match self.mutation {
            PaddingAcceptedAsWord => batch.check(&Shape { vocab: shape.vocab + 1, ..*shape }),
            OnlyFirstSentenceChecked if !batch.is_empty() => {
                batch.slice(0..1).check(shape)?;
                // A panic is no error: the ids are looked up.
                Ok(())
            }
            LabelsUnchecked if !batch.is_empty() => batch.check_words(shape),
            _ => batch.check(shape),
        }
    }
}

impl<T: Float> Network<T> for Subject {
    fn name(&self) -> String {
        format!("{:?}", self.mutation)
    }

    fn learner(&self, params: Params<T>) -> Result<Box<dyn Learner<T>>, Error> {
        let subject = self.object(Object::Learner);
        if self.is(MixedUp(Object::Learner)) {
            *self.shared.numbers.lock().unwrap() = params.as_slice().iter().map(|v| v.to_f64()).collect();
        }
        Ok(Box::new(SubjectLearner {
            subject,
            first: params.clone(),
            moved: Params::zeros(params.shape())?,
            params,
            steps: 0,
        }))
    }

    fn tagger(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        let subject = self.object(Object::Tagger);
        if self.is(MixedUp(Object::Tagger)) {
            *self.shared.numbers.lock().unwrap() = params.as_slice().iter().map(|v| v.to_f64()).collect();
        }
        Ok(Box::new(SubjectTagger { subject, params: params.clone(), s: Array2::zeros((0, 0)) }))
    }
}

struct SubjectLearner<T> {
    subject: Subject,
    first: Params<T>,
    params: Params<T>,
    moved: Params<T>,
    steps: usize,
}

impl<T: Float> SubjectLearner<T> {
    /// The parameters of the last object that was made, if objects are mixed up.
    fn mixed(&self) -> Params<T> {
        mixed(&self.subject, Object::Learner, &self.params)
    }

    fn adam(&mut self, grad: &Params<T>, batch: Batch<'_>, values: &mut Adam<T>) {
        use AdamFault::*;
        let is = |fault| self.subject.is(Mutation::Adam(fault));
        let shape = self.params.shape();
        let emb = (shape.vocab + 1) * shape.embed;
        let changed = |i: usize| {
            let row = i / shape.embed;
            i >= emb || batch.words().contains(&(row as u32)) || row == shape.vocab && shape.window > 1
        };
        let moves = |i| changed(i) || is(AllRowsMoved);
        let squares = grad.as_slice().iter().enumerate().filter(|(i, _)| moves(*i) || is(NormOfAllRows));
        let pairs: Vec<(T, T)> = squares.map(|(_, g)| (*g, *g)).collect();
        let norm = self.subject.order.sum(&pairs, T::zero()).sqrt();
        let mut steps = values.steps + 1;
        self.steps += 1;
        if is(StepsFromZero) {
            steps = values.steps.max(1);
        }
        if is(StepsOfThisLearner) {
            steps = self.steps as u64;
        }
        let [c1, c2] = [values.beta1, values.beta2].map(|beta| {
            let product = (0..steps).fold(1.0, |product, _| product * beta.to_f64());
            if is(BiasKept) { T::one() } else { real(1.0 - product) }
        });
        if !is(StepsNotCounted) {
            values.steps += 1;
        }
        let of_matrix: Vec<bool> =
            shape.table().flat_map(|tensor| vec![tensor.is_matrix(); tensor.entries()]).collect();
        let [first, second] = &mut values.moments;
        let entries = self.params.as_mut_slice().iter_mut().zip(grad.as_slice());
        let moments = first.as_mut_slice().iter_mut().zip(second.as_mut_slice());
        for (i, ((p, g), (m, v))) in entries.zip(moments).enumerate() {
            if !moves(i) && !is(MomentsOfAllRows) {
                continue;
            }
            let mut g = *g;
            match values.clip {
                Some(clip) if is(ClipEachEntry) => {
                    g = if g > clip {
                        clip
                    } else if g < -clip {
                        -clip
                    } else {
                        g
                    }
                }
                Some(clip) if (norm > clip || is(ClipScalesUp)) && !is(ClipIgnored) => g *= clip / norm,
                _ => {}
            }
            let mut decay = if of_matrix[i] || is(DecayOfVectors) { values.weight_decay } else { T::zero() };
            if is(DecayInGradient) {
                g += decay * *p;
            }
            if is(DecayInGradient) || is(DecayIgnored) {
                decay = T::zero();
            }
            *m = values.beta1 * *m + (T::one() - values.beta1) * g;
            *v = values.beta2 * *v
                + (T::one() - values.beta2) * if is(SecondOfFirst) { *m * *m } else { g * g };
            let epsilon = if is(EpsilonIgnored) { real(1e-8) } else { values.epsilon };
            let root = match *v / c2 {
                v if is(RootForgotten) => v + epsilon,
                v if is(EpsilonInRoot) => (v + epsilon).sqrt(),
                v => v.sqrt() + epsilon,
            };
            if moves(i) {
                *p -= values.learning_rate * (*m / c1 / root + decay * *p);
            }
        }
        if values.normalise && !is(NormaliseIgnored) || is(AlwaysNormalised) {
            self.normalise(batch);
        }
    }

    fn normalise(&mut self, batch: Batch<'_>) {
        let shape = self.params.shape();
        for row in 0..=shape.vocab {
            let contains = |batch: Batch<'_>| batch.words().contains(&(row as u32));
            let padding = row == shape.vocab && shape.window > 1;
            let changed = match self.subject.mutation {
                NothingNormalised => false,
                EveryRowNormalised => true,
                PaddingNotNormalised => contains(batch),
                PaddingAlwaysNormalised => contains(batch) || row == shape.vocab,
                FirstSentenceNormalised => contains(batch.slice(0..1)) || padding,
                _ => contains(batch) || padding,
            };
            let mut emb = self.params.emb_mut();
            let mut row = emb.row_mut(row);
            let pairs: Vec<(T, T)> = row.iter().map(|v| (*v, *v)).collect();
            let mut norm = self.subject.order.sum(&pairs, T::zero()).sqrt();
            match self.subject.mutation {
                NormOfAbsolutes => {
                    norm =
                        row.iter().fold(T::zero(), |sum, v| if *v < T::zero() { sum - *v } else { sum + *v })
                }
                NormNotRooted => norm = norm * norm,
                _ => {}
            }
            if changed && (norm != T::zero() || self.subject.is(ZeroRowDivided)) {
                row.mapv_inplace(|v| v / norm);
            }
        }
    }
}

fn mixed<T: Float>(subject: &Subject, kind: Object, params: &Params<T>) -> Params<T> {
    let mut mixed = params.clone();
    let numbers = subject.shared.numbers.lock().unwrap();
    if subject.is(MixedUp(kind)) && numbers.len() == mixed.as_slice().len() {
        mixed.as_mut_slice().iter_mut().zip(&*numbers).for_each(|(v, number)| *v = real(*number));
    }
    mixed
}

impl<T: Float> Learner<T> for SubjectLearner<T> {
    fn gradient(&mut self, batch: Batch<'_>, share: T, grad: &mut Params<T>) -> Result<T, Error> {
        let params =
            if self.subject.is(LearnerKeepsFirstWeights) { self.first.clone() } else { self.mixed() };
        self.subject.gradient_of(&params, batch, share, grad)
    }

    fn apply(&mut self, grad: &Params<T>, batch: Batch<'_>, update: &mut Update<T>) -> Result<(), Error> {
        let shape = self.params.shape();
        if !self.subject.is(ApplyUnchecked) {
            grad.check(shape)?;
        }
        self.subject.check(batch, &shape)?;
        if !self.subject.is(RateUnchecked) {
            update.check(self.params.shape())?;
        }
        let learning_rate = match update {
            Update::Sgd { learning_rate } => learning_rate,
            Update::Adam(values) => {
                self.adam(grad, batch, values);
                return Ok(());
            }
            _ => unimplemented!("another update"),
        };
        self.steps += 1;
        let mut rate = *learning_rate;
        match self.subject.mutation {
            StepUphill => rate = -rate,
            FrozenAfter(steps) if self.steps > steps => rate = T::zero(),
            RateClipped(most) if rate.to_f64() > most as f64 => rate = real(most as f64),
            _ => {}
        }
        let momentum = matches!(self.subject.mutation, MomentumAfter(steps) if self.steps > steps);
        for ((name, mut tensor), ((_, grad), (_, mut moved))) in
            self.params.tensors_mut().zip(grad.tensors().zip(self.moved.tensors_mut()))
        {
            if matches!(self.subject.mutation, Tensor(found, Fault::NotUpdated) if found == name) {
                continue;
            }
            for ((p, grad), moved) in tensor.iter_mut().zip(grad).zip(&mut moved) {
                let step = rate * *grad + if momentum { *moved * real(0.5) } else { T::zero() };
                *moved = step;
                *p -= step;
            }
        }
        self.normalise(batch);
        Ok(())
    }

    fn step(&mut self, batch: Batch<'_>, update: &mut Update<T>) -> Result<T, Error> {
        let shape = self.params.shape();
        if self.subject.is(StepChangesBeforeRefusal) && !batch.is_empty() {
            self.params.b_mut()[0] += T::one();
            batch.check(&shape)?;
            self.params.b_mut()[0] -= T::one();
        }
        if !self.subject.is(RateUnchecked) {
            update.check(self.params.shape())?;
        }
        let share = T::one() / real(batch.len().max(1) as f64);
        let mut grad = Params::zeros(shape)?;
        let mut loss = self.gradient(batch, share, &mut grad)?;
        if self.subject.is(StepUnlikeApply) {
            grad.as_mut_slice().iter_mut().for_each(|v| *v = *v * real(3.0) / real(3.0));
        }
        self.apply(&grad, batch, update)?;
        if self.subject.is(LossAfterStep) {
            loss = self.gradient(batch, share, &mut grad)?;
        }
        Ok(loss)
    }

    fn params(&self) -> Params<T> {
        self.params.clone()
    }

    fn params_to(&self, params: &mut Params<T>) {
        let (to, from) = (params.as_mut_slice(), self.params.as_slice());
        let count = from.len() - usize::from(self.subject.is(LastParameterNotWritten));
        to[..count].copy_from_slice(&from[..count]);
    }
}

struct SubjectTagger<T> {
    subject: Subject,
    params: Params<T>,
    s: Array2<T>,
}

impl<T: Float> Tagger<T> for SubjectTagger<T> {
    fn scores(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        let shape = self.params.shape();
        if self.subject.is(PaddingAcceptedAsWord) {
            elman::check_words(words, &Shape { vocab: shape.vocab + 1, ..shape })?;
        } else {
            elman::check_words(words, &shape)?;
        }
        let params = mixed(&self.subject, Object::Tagger, &self.params);
        let (run, wrong) = self.subject.call(Object::Tagger, || self.subject.forward(&params, words));
        let rows = if self.subject.is(ScoresBeforeSoftmax) { run.z } else { run.s };
        self.s = Array2::from_shape_fn((words.len(), shape.classes), |(t, k)| rows[t][k]);
        if self.subject.is(ScoresFlushed) {
            flush(self.s.iter_mut());
        }
        if wrong {
            wrong_in_a_last_bit(self.s.iter_mut());
        }
        Ok(self.s.view())
    }

    fn score_all(&mut self, batch: Batch<'_>, scores: &mut [T]) -> Result<(), Error> {
        let (classes, words) = (self.params.shape().classes, batch.words().len());
        if scores.len() != words * classes && !self.subject.is(ScorePlacesUnchecked) {
            return Err(Error::shape("places for scores", words * classes, scores.len()));
        }
        let mut rows: Vec<Vec<T>> = Vec::new();
        for sentence in batch.iter() {
            rows.extend(self.scores(sentence.words)?.rows().into_iter().map(|row| row.to_vec()));
        }
        if self.subject.is(ScoreAllReversed) {
            rows.reverse();
        }
        let numbers = rows.into_iter().flatten();
        scores.iter_mut().zip(numbers).for_each(|(place, score)| *place = score);
        Ok(())
    }

    fn emissions(&mut self, words: &[u32]) -> Result<ArrayView2<'_, T>, Error> {
        let shape = self.params.shape();
        elman::check_words(words, &shape)?;
        let run = self.subject.forward(&self.params, words);
        let rows = match self.subject.mutation {
            CrfEmissionsOfSoftmax => run.z.iter().map(|z| self.subject.softmax(z)).collect(),
            _ => run.z,
        };
        self.s = Array2::from_shape_fn((words.len(), shape.classes), |(t, k)| rows[t][k]);
        Ok(self.s.view())
    }

    fn label_all(&mut self, batch: Batch<'_>, labels: &mut [u32]) -> Result<(), Error> {
        let is = |mutation| self.subject.is(mutation);
        if is(LabelsClearedOnRefusal) {
            labels.fill(0);
        }
        if !is(PlacesUnchecked) {
            check_places(batch, labels)?;
        }
        if !is(PaddingAcceptedAsWord) {
            batch.check_words(&self.params.shape())?;
        }
        let mut found = Vec::new();
        for (i, sentence) in batch.iter().enumerate() {
            self.scores(sentence.words)?;
            let is = |mutation| self.subject.is(mutation);
            let chain = self.subject.chain(&self.params).filter(|_| !is(CrfLabelsOfMarginals));
            if let Some(chain) = &chain {
                let run = self.subject.forward(&self.params, sentence.words);
                found.extend(self.subject.sequence(chain, &run.z).into_iter().map(|label| label as u32));
            }
            for row in self.s.rows().into_iter().filter(|_| chain.is_none()) {
                let classes =
                    if is(LastLabelNeverGiven) && row.len() > 1 { row.len() - 1 } else { row.len() };
                let better =
                    |k: usize, best: usize| row[k] > row[best] || is(LastOfTies) && row[k] == row[best];
                let best = (1..classes).fold(0, |best, k| if better(k, best) { k } else { best });
                let wrong = is(LabelOffByOne) || self.subject.too_large(&[(Size::Sentences, i + 1)]);
                found.push(if wrong { (best + 1) % row.len() } else { best } as u32);
            }
        }
        if self.subject.is(LabelAllReversed) {
            found.reverse();
        }
        labels.iter_mut().zip(found).for_each(|(place, label)| *place = label);
        Ok(())
    }

    fn prepare(&self, params: &Params<T>) -> Result<Box<dyn Tagger<T>>, Error> {
        let params = if self.subject.is(PrepareForgets) { &self.params } else { params };
        self.subject.tagger(params)
    }

    fn fork(&self) -> Box<dyn Tagger<T>> {
        let mut params = self.params.clone();
        if self.subject.is(ForkForgets) {
            params.b_mut().fill(T::zero());
        }
        Box::new(SubjectTagger { subject: self.subject.clone(), params, s: Array2::zeros((0, 0)) })
    }
}

impl Subject {
    fn runs<T: Float>(&self, layer: &Layer<'_, T>, xs: &Sequences<'_, T>) -> Vec<Run<T>> {
        let small = |v: &T| v.to_f64().abs() < T::MIN_POSITIVE && self.is(SubnormalInputsFlushed);
        let rows: Vec<Vec<T>> = xs
            .rows()
            .rows()
            .into_iter()
            .map(|row| row.iter().map(|v| if small(v) { T::zero() } else { *v }).collect())
            .collect();
        let mut bleeding: Option<Vec<T>> = None;
        let runs = xs.ranges().enumerate().map(|(i, range)| {
            let own = xs.initial().filter(|_| !self.is(InitialIgnored));
            let mut initial = own.map_or(layer.initial().to_vec(), |initial| initial.row(i).to_vec());
            if let Some(state) = bleeding.take() {
                initial = state;
            }
            let run = self.states(layer, rows[range].to_vec(), initial, None);
            bleeding = self.is(SequencesBleed).then(|| run.fed[run.h.len()].clone());
            run
        });
        runs.collect()
    }
}

/// Adds the gradient of the states before the first step to those of h0 and c0.
fn add_initial<T: Float, S: Layout>(layer: &Layer<'_, T>, grad: &mut Params<T, S>, dinitial: &[T]) {
    let (dh0, dc0) = dinitial.split_at(layer.h0().len());
    for (name, from) in [(Name::H0, dh0), (Name::C0, dc0)] {
        let to = grad.vector_mut(layer.name(name)).into_iter().flatten();
        to.zip(from).for_each(|(sum, d)| *sum += *d);
    }
}

fn matrix<T: Float>(rows: Vec<Vec<T>>, width: usize) -> Array2<T> {
    Array2::from_shape_fn((rows.len(), width), |(i, j)| rows[i][j])
}

impl<T: Float> Recurrence<T> for Subject {
    fn forward(&self, layer: Layer<'_, T>, xs: &Sequences<'_, T>) -> Result<States<T>, Error> {
        if !self.is(SequencesUnchecked) {
            xs.check(&layer)?;
        }
        let hidden = layer.shape().hidden;
        let (runs, wrong) = self.call(Object::Forward, || self.runs(&layer, xs));
        let last: Vec<Vec<T>> = runs.iter().map(|run| run.fed[run.h.len()].clone()).collect();
        let states = last[0].len();
        let last = matrix(last, states);
        let mut h = matrix(runs.iter().flat_map(|run| run.h.clone()).collect(), hidden);
        let equal = xs.lengths().len() > 2 && xs.lengths().iter().all(|length| *length == xs.lengths()[0]);
        let steps = xs.rows().nrows();
        let sizes = [(Size::Sequences, xs.lengths().len()), (Size::Rows, steps), (Size::Hidden, hidden)];
        if self.is(EqualLengths) && equal || self.too_large(&sizes) {
            h[[steps - 1, 0]] += real(0.01);
        }
        if self.is(StatesFlushed) {
            flush(h.iter_mut());
        }
        if wrong {
            wrong_in_a_last_bit(h.iter_mut());
        }
        if self.is(LastIsFirst) {
            let first = runs.iter().map(|run| run.fed[1].clone()).collect();
            return Ok(States { last: matrix(first, states), h });
        }
        Ok(States { h, last })
    }

    fn vjp<'a>(
        &self,
        layer: Layer<'a, T>,
        xs: &'a Sequences<'a, T>,
    ) -> Result<Box<dyn Trace<T> + 'a>, Error> {
        let states = Recurrence::forward(self, layer, xs)?;
        let subject = self.object(Object::Trace);
        if self.is(MixedUp(Object::Trace)) {
            *self.shared.numbers.lock().unwrap() = xs.rows().iter().map(|v| v.to_f64()).collect();
        }
        Ok(Box::new(SubjectTrace { subject, layer, xs, states }))
    }
}

struct SubjectTrace<'a, T> {
    subject: Subject,
    layer: Layer<'a, T>,
    xs: &'a Sequences<'a, T>,
    states: States<T>,
}

impl<T: Float> Trace<T> for SubjectTrace<'_, T> {
    fn h(&self) -> ArrayView2<'_, T> {
        self.states.h.view()
    }

    fn last(&self) -> ArrayView2<'_, T> {
        self.states.last.view()
    }

    fn backward_into(
        &self,
        dh: ArrayView2<'_, T>,
        dlast: Option<ArrayView2<'_, T>>,
        gradient: &mut RecurrenceGradient<T>,
    ) -> Result<(), Error> {
        let is = |mutation| self.subject.is(mutation);
        check_backward((self.h(), self.last()), dh, dlast)?;
        let (layer, shape) = (&self.layer, self.layer.shape());
        let mut grad = LayerParams::zeros(shape)?;
        if is(TraceAccumulates) && gradient.layer.shape() == shape {
            grad = gradient.layer.clone();
        }
        let (mut by_xs, mut by_initial) = (Vec::new(), Vec::new());
        let mut left_over = None;
        let small = |v: T| v.to_f64().abs() < T::MIN_POSITIVE && is(SubnormalGradientsFlushed);
        let (mut runs, wrong) = self.subject.call(Object::Trace, || self.subject.runs(layer, self.xs));
        if is(MixedUp(Object::Trace)) {
            let numbers = self.subject.shared.numbers.lock().unwrap();
            if numbers.len() == self.xs.rows().len() {
                let mut numbers = numbers.iter().map(|v| real(*v));
                runs.iter_mut()
                    .flat_map(|run| &mut run.x)
                    .flatten()
                    .for_each(|x| *x = numbers.next().unwrap());
            }
        }
        for (i, (run, range)) in runs.iter().zip(self.xs.ranges()).enumerate() {
            let own = dlast
                .filter(|_| !is(DlastIgnored))
                .map(|dlast| dlast.row(if is(DlastOfFirst) { 0 } else { i }).to_vec());
            let mut after = own.unwrap_or(vec![T::zero(); layer.initial().len()]);
            if let Some(left_over) = left_over.take() {
                after = left_over;
            }
            let (dx, dinitial) = self.subject.back(layer, run, after, &mut grad, |t, carry| {
                let row = dh.row(range.start + t);
                let of_h = row.iter().zip(carry).map(|(dh, c)| if small(*dh) { *c } else { *dh + *c });
                of_h.chain(carry[row.len()..].iter().copied()).collect()
            });
            left_over = is(CarryLeftForNextSequence).then(|| dinitial.clone());
            by_xs.extend(dx);
            by_initial.push(dinitial);
        }
        if self.xs.initial().is_none() || is(H0GradientInAnyCase) {
            for (i, dinitial) in by_initial.iter().enumerate() {
                if !(is(H0GradientOfFirst) && i > 0) {
                    add_initial(layer, &mut grad, dinitial);
                }
            }
        }
        let mut by_xs = matrix(by_xs, shape.input);
        if wrong {
            wrong_in_a_last_bit(by_xs.iter_mut());
        }
        if is(InputGradientOfFirst) && self.xs.lengths().len() > 1 {
            let last = by_xs.nrows() - 1;
            by_xs.row_mut(last).fill(T::zero());
        }
        if let Tensor(name, fault) = self.subject.mutation
            && let Some(tensor) = grad.tensor_mut(name)
        {
            fault.spoil(tensor);
        }
        let by_initial = matrix(by_initial, layer.initial().len());
        *gradient = RecurrenceGradient { xs: by_xs, initial: by_initial, layer: grad };
        Ok(())
    }
}
