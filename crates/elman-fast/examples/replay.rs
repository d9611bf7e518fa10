use elman::ndarray::Array2;
use elman::*;
use elman_fast::*;
struct R(u64);
impl R {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545f4914f6cdd1d) >> 33) as usize
    }
    fn f(&mut self) -> f64 {
        self.next() as f64 / (1u64 << 31) as f64 - 0.5
    }
}
fn h(b: &mut u64, x: u64) {
    *b = (*b ^ x).wrapping_mul(0x100000001b3).rotate_left(17);
}
fn run<T: Num>(name: &str)
where
    Fast: Network<T> + Recurrence<T>,
{
    for isa in Isa::available() {
        for fb in [Feedback::Hidden, Feedback::Output] {
            for (hid, emb, win, cls) in [(200, 50, 7, 127), (33, 9, 1, 17), (16, 16, 3, 4), (65, 20, 9, 65)] {
                let shape = Shape {
                    vocab: 100,
                    embed: emb,
                    window: win,
                    hidden: hid,
                    classes: cls,
                    feedback: fb,
                    ..Shape::ELMAN
                };
                let mut r = R(12345);
                let mut p = Params::<T>::init(shape, 7).unwrap();
                for v in p.bh_mut().iter_mut() {
                    *v = T::from_f64(r.f() * 0.3);
                }
                for v in p.b_mut().iter_mut() {
                    *v = T::from_f64(r.f() * 0.3);
                }
                for v in p.h0_mut().iter_mut() {
                    *v = T::from_f64(r.f() * 0.3);
                }
                let sents: Vec<(Vec<u32>, Vec<u32>)> = (0..60)
                    .map(|i| {
                        let n = 1 + r.next() % (if i % 9 == 0 { 40 } else { 14 });
                        (
                            (0..n).map(|_| (r.next() % 100) as u32).collect(),
                            (0..n).map(|_| (r.next() % cls) as u32).collect(),
                        )
                    })
                    .collect();
                let fast = Fast::with(isa).unwrap();
                let mut l = fast.learner(p).unwrap();
                let mut hs = 0u64;
                for (w, c) in &sents {
                    l.step(Sentences::one(w, c).unwrap().batch(), &mut Update::sgd(T::from_f64(0.1)))
                        .unwrap();
                }
                let q = l.params();
                let mut hw = 0u64;
                for v in q.as_slice() {
                    h(&mut hw, v.to_f64().to_bits());
                }
                let mut tg = fast.tagger(&q).unwrap();
                let mut all = Sentences::new();
                for s in &sents {
                    all.push(&s.0, &[]).unwrap();
                }
                let mut ls = vec![0; all.batch().words().len()];
                tg.label_all(all.batch(), &mut ls).unwrap();
                for v in ls {
                    h(&mut hs, v as u64);
                }
                let mut hp = 0u64;
                for s in &sents {
                    for v in tg.scores(&s.0).unwrap().iter() {
                        h(&mut hp, v.to_f64().to_bits());
                    }
                }
                println!("{name} {isa} {fb} {hid}: weights {hw:016x} labels {hs:016x} scores {hp:016x}");
            }
        }
        for (inp, hid, lens) in
            [(20, 33, vec![5]), (350, 200, vec![9]), (64, 64, vec![3, 9, 1, 4]), (128, 256, vec![40])]
        {
            let mut r = R(99);
            let mut g = |a: usize, b: usize| Array2::from_shape_fn((a, b), |_| T::from_f64(r.f() * 0.3));
            let n = lens.iter().sum::<usize>();
            let wx = g(inp, hid);
            let wh = g(hid, hid);
            let bh = g(1, hid).row(0).to_owned();
            let h0 = g(1, hid).row(0).to_owned();
            let x = g(n, inp);
            let dh = g(n, hid);
            let mut cell =
                LayerParams::<T>::zeros(LayerShape { input: inp, hidden: hid, cell: Cell::default() })
                    .unwrap();
            cell.wx_mut().assign(&wx);
            cell.wh_mut().assign(&wh);
            cell.bh_mut().assign(&bh);
            cell.h0_mut().assign(&h0);
            let fast = Fast::with(isa).unwrap();
            let xs = Sequences::new(x.view(), &lens).unwrap();
            let t = Recurrence::<T>::vjp(&fast, cell.layer(), &xs).unwrap();
            let gr = t.backward(dh.view(), None).unwrap();
            let mut o = vec![];
            for a in [
                t.h().to_owned(),
                gr.xs.clone(),
                gr.layer.wx().to_owned(),
                gr.layer.wh().to_owned(),
                gr.layer.bh().to_owned().insert_axis(elman::ndarray::Axis(0)),
                gr.layer.h0().to_owned().insert_axis(elman::ndarray::Axis(0)),
            ] {
                let mut z = 0;
                for v in a.iter() {
                    h(&mut z, v.to_f64().to_bits());
                }
                o.push(format!("{z:016x}"));
            }
            println!("{name} {isa} rec {inp} {hid}: {}", o.join(" "));
        }
    }
}
fn main() {
    run::<f32>("f32");
    run::<f64>("f64");
}
