//! What one core of this machine can do, and how near to it each kernel comes: peak of multiply-add for each
//! instruction set, bandwidth of each level of memory, and every kernel between them.
//!
//!     cargo run --release -p elman-benches --bin roofline
//!
//! writes roofline.svg and roofline.json. On Linux, `taskset -c 1` before it keeps it on one core.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use elman::ndarray::Array2;
use elman::{Cell, LayerShape, Recurrence, RecurrenceGradient, Sequences};
use elman_benches::chart::{Figure, Mark, Series};
use elman_benches::protocol::{Failure, Inputs};
use elman_benches::{Stream, least_seconds, machine, write_whole};
use elman_fast::raw::{Bench, Kernel};
use elman_fast::{Fast, Isa};
use fearless_simd::{Level, Simd, SimdBase, SimdFloat, f32x16};
use serde_json::{Value, json};

/// Measures peak, bandwidths and kernels of one core.
#[derive(Parser)]
struct Arguments {
    /// Folder for roofline.svg and roofline.json.
    #[arg(long, default_value = "target/roofline")]
    out: PathBuf,
    /// Seconds for each figure.
    #[arg(long, default_value_t = 0.3)]
    budget: f64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn level(isa: Isa) -> Option<Level> {
    let best = Level::new();
    #[cfg(target_arch = "x86_64")]
    return match isa {
        Isa::Portable => best.as_sse2().map(Level::Sse2),
        Isa::Avx2 => best.as_avx2().map(Level::Avx2),
        Isa::Avx512 => best.as_avx512().map(Level::Avx512),
        _ => None,
    };
    #[cfg(not(target_arch = "x86_64"))]
    return (isa == Isa::best()).then_some(best);
}

/// `ROUNDS` multiply-adds in each of N independent chains of 16 numbers: as many chains as the registers
/// hold, so that neither latency nor memory limits.
#[inline(always)]
fn multiply_add<S: Simd, const N: usize>(simd: S, factor: f32) -> f32 {
    let (a, b) = (f32x16::splat(simd, factor), f32x16::splat(simd, 1.0 - factor));
    let mut chains = [b; N];
    for _ in 0..ROUNDS {
        for chain in &mut chains {
            *chain = chain.mul_add(a, b);
        }
    }
    chains.into_iter().map(|chain| chain.as_slice().iter().sum::<f32>()).sum()
}

const ROUNDS: usize = 2000;

/// FLOP/s of multiply-add, two operations each.
fn peak(isa: Isa, budget: f64) -> Option<f64> {
    let level = level(isa)?;
    let flops = |chains: usize, seconds: f64| (2 * 16 * ROUNDS * chains) as f64 / seconds;
    let factor = black_box(0.999f32);
    // 16 registers hold three vectors of 16 numbers in four parts each, or six in two; 32 registers hold twelve whole.
    Some(match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512(simd) => flops(
            12,
            least_seconds(budget, || {
                black_box(simd.vectorize(
                    #[inline(always)]
                    || multiply_add::<_, 12>(simd, black_box(factor)),
                ));
            }),
        ),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2(simd) => flops(
            6,
            least_seconds(budget, || {
                black_box(simd.vectorize(
                    #[inline(always)]
                    || multiply_add::<_, 6>(simd, black_box(factor)),
                ));
            }),
        ),
        level => flops(
            3,
            least_seconds(budget, || {
                black_box(
                    fearless_simd::dispatch!(level, simd => multiply_add::<_, 3>(simd, black_box(factor))),
                );
            }),
        ),
    })
}

/// The sum of all numbers, so many times, in eight independent chains of 16.
#[inline(always)]
fn read_all<S: Simd>(simd: S, data: &[f32], times: usize) -> f32 {
    let mut sums = [f32x16::splat(simd, 0.0); 8];
    let (blocks, _) = data.as_chunks::<128>();
    for _ in 0..times {
        for block in blocks {
            let (parts, _) = block.as_chunks::<16>();
            for (sum, part) in sums.iter_mut().zip(parts) {
                *sum += f32x16::from_slice(simd, part);
            }
        }
    }
    sums.into_iter().map(|sum| sum.as_slice().iter().sum::<f32>()).sum()
}

/// Bytes per second when so many are read again and again.
fn bandwidth(bytes: usize, budget: f64) -> f64 {
    // Whole cache lines, as the kernels read: a vector across two of them costs two reads.
    let len = bytes / 4 / 128 * 128;
    let memory = vec![1.0f32; len + 16];
    let data = &memory[memory.as_ptr().align_offset(64)..][..len];
    let level = Level::new();
    // Enough for the sums at the end not to count.
    let times = (4usize << 20).div_ceil(bytes);
    let time = least_seconds(budget, || {
        let data = black_box(data);
        black_box(fearless_simd::dispatch!(level, simd => read_all(simd, data, times)));
    });
    (data.len() * 4 * times) as f64 / time
}

/// A kernel's measurement.
struct Point {
    name: String,
    isa: Isa,
    flops: f64,
    bytes: f64,
    seconds: f64,
}

/// The kernels one by one; bytes are those of the operands, each once.
fn kernels(isa: Isa, budget: f64) -> Result<Vec<Point>, Failure> {
    let array = |shape: (usize, usize)| -> Array2<f32> { Stream(5).tensor(shape, 0.25) };
    let mut points = Vec::new();
    for (name, kernel, a, b, c) in [
        ("A·B", Kernel::Product, (11, 350), (350, 208), (11, 208)),
        ("A·B", Kernel::Product, (64, 256), (256, 256), (64, 256)),
        ("A·B", Kernel::Product, (128, 512), (512, 512), (128, 512)),
        ("A·B", Kernel::Product, (64, 1024), (1024, 1024), (64, 1024)),
        ("A·B, panels", Kernel::Panels, (128, 512), (512, 512), (128, 512)),
        ("A·B, panels", Kernel::Panels, (64, 1024), (1024, 1024), (64, 1024)),
        ("Aᵀ·B", Kernel::Transposed, (11, 350), (11, 208), (350, 208)),
        ("A·Bᵀ", Kernel::Dot, (11, 208), (352, 208), (11, 352)),
        ("one step of the recurrence", Kernel::Step, (1, 208), (208, 208), (1, 208)),
        ("one step of the recurrence", Kernel::Step, (1, 512), (512, 512), (1, 512)),
        ("one step of the recurrence", Kernel::Step, (1, 1024), (1024, 1024), (1, 1024)),
        ("A·B, matrixmultiply", Kernel::Gemm, (11, 350), (350, 208), (11, 208)),
        ("A·B, matrixmultiply", Kernel::Gemm, (64, 1024), (1024, 1024), (64, 1024)),
    ] {
        // It chooses its own instruction set.
        if kernel == Kernel::Gemm && isa != Isa::best() {
            continue;
        }
        let depth = if kernel == Kernel::Transposed { a.0 } else { a.1 };
        let mut bench = Bench::new(isa, array(a).view(), array(b).view(), array(c).view())?;
        points.push(Point {
            name: format!("{name}, {}×{depth}×{}", c.0, c.1),
            isa,
            flops: (2 * c.0 * c.1 * depth) as f64,
            bytes: (4 * (a.0 * a.1 + b.0 * b.1 + 2 * c.0 * c.1)) as f64,
            seconds: least_seconds(budget, || bench.run(kernel)),
        });
    }
    Ok(points)
}

/// The recurrence alone, 64 steps. A step needs all of wh before the next can begin, so wh counts once for each step;
/// everything else counts once.
fn recurrences(isa: Isa, budget: f64) -> Result<Vec<Point>, Failure> {
    const STEPS: usize = 64;
    let fast = Fast::with(isa)?;
    let mut gradient = RecurrenceGradient::default();
    let mut points = Vec::new();
    for (batch, input, hidden) in [(1, 350, 200), (1, 1024, 1024), (16, 256, 256), (64, 1024, 1024)] {
        let shape = LayerShape { input, hidden, cell: Cell::default() };
        let inputs = Inputs::new(batch, shape, STEPS)?;
        let lengths = vec![STEPS; batch];
        let xs = Sequences::new(inputs.xs.view(), &lengths)?;
        let layer = inputs.params.layer();
        fast.vjp(layer, &xs)?.backward_into(inputs.dh.view(), None, &mut gradient)?;
        let rows = batch * STEPS;
        for (name, passes) in [("forward", 1), ("forward and backward", 3)] {
            let time = least_seconds(budget, || {
                // Checked above.
                if passes == 1 {
                    black_box(fast.forward(layer, &xs)).ok();
                } else if let Ok(trace) = fast.vjp(layer, &xs) {
                    black_box(trace.backward_into(inputs.dh.view(), None, &mut gradient)).ok();
                }
            });
            // Backward reads wx and wh again, writes their gradients, and reads and writes rows of both widths.
            let bytes = 4 * passes * (input * hidden + STEPS * hidden * hidden + rows * (input + hidden));
            points.push(Point {
                name: format!("recurrence {name}, {batch},{input},{hidden}"),
                isa,
                flops: (passes * 2 * rows * hidden * (input + hidden)) as f64,
                bytes: bytes as f64,
                seconds: time,
            });
        }
    }
    Ok(points)
}

/// Sizes of the data caches of a core, as Linux reports them, the smallest first.
fn caches() -> Vec<(String, usize)> {
    let folder = Path::new("/sys/devices/system/cpu/cpu0/cache");
    let read = |i: usize, name: &str| {
        std::fs::read_to_string(folder.join(format!("index{i}")).join(name))
            .ok()
            .map(|s| s.trim().to_string())
    };
    let mut found: Vec<(String, usize)> = (0..8)
        .filter(|i| read(*i, "type").is_some_and(|kind| kind != "Instruction"))
        .filter_map(|i| {
            let size = read(i, "size")?.strip_suffix('K')?.parse::<usize>().ok()?;
            Some((format!("L{}", read(i, "level")?), size * 1024))
        })
        .collect();
    if found.is_empty() {
        found = vec![("L1".into(), 32 << 10), ("L2".into(), 1 << 20), ("L3".into(), 16 << 20)];
    }
    found.sort_by_key(|(_, size)| *size);
    found
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let budget = arguments.budget;
    let best = Isa::best();
    let peaks: Vec<(Isa, f64)> =
        Isa::available().into_iter().filter_map(|isa| Some((isa, peak(isa, budget)?))).collect();
    for (isa, flops) in &peaks {
        println!("peak, {isa}: {:.1} GFLOP/s", flops / 1e9);
    }
    let caches = caches();
    let largest = caches.last().map_or(1 << 20, |(_, size)| *size);
    let mut below = largest;
    let mut levels = Vec::new();
    for (name, size) in &caches {
        // Half of it, so that it stays there, and a few times the level below: the last may be large and shared.
        let rate = bandwidth((size / 2).min(4 * below), budget);
        levels.push((name.clone(), *size, rate));
        below = *size;
    }
    levels.push(("memory".to_string(), usize::MAX, bandwidth((8 * largest).max(256 << 20), budget.max(0.5))));
    for (name, _, rate) in &levels {
        println!("reading, {name}: {:.1} GB/s", rate / 1e9);
    }
    let mut points = Vec::new();
    for isa in Isa::available() {
        points.extend(kernels(isa, budget)?);
        points.extend(recurrences(isa, budget)?);
    }

    // What limits: the peak, or the level that holds the operands times the operations for each byte.
    let roof = |point: &Point| {
        let peak = peaks.iter().find(|(isa, _)| *isa == point.isa).map_or(f64::NAN, |(_, flops)| *flops);
        let working = if point.name.starts_with("recurrence") { wh_bytes(&point.name) } else { point.bytes };
        let level = levels.iter().find(|(_, size, _)| working <= *size as f64).unwrap_or(&levels[0]);
        (level.0.clone(), peak.min(level.2 * point.flops / point.bytes))
    };
    println!(
        "\n{:<58} {:>9} {:>10} {:>8} {:>7} {:>8}",
        "kernel", "isa", "FLOP/byte", "GFLOP/s", "from", "of roof"
    );
    let mut table = Vec::new();
    for point in &points {
        let (intensity, speed) = (point.flops / point.bytes, point.flops / point.seconds);
        let (level, roof) = roof(point);
        println!(
            "{:<58} {:>9} {intensity:>10.2} {:>8.1} {level:>7} {:>7.0}%",
            point.name,
            point.isa.name(),
            speed / 1e9,
            100.0 * speed / roof
        );
        table.push(json!({
            "name": point.name, "isa": point.isa.name(), "flops": point.flops, "bytes": point.bytes,
            "intensity": intensity, "seconds": point.seconds, "flops_per_second": speed, "level": level,
            "roof": roof,
        }));
    }

    let result = json!({
        "machine": machine(),
        "peaks": peaks.iter().map(|(isa, flops)| json!({ "isa": isa.name(), "flops_per_second": flops })).collect::<Vec<Value>>(),
        "levels": levels.iter().map(|(name, size, rate)| json!({
            "name": name, "bytes": (*size != usize::MAX).then_some(size), "bytes_per_second": rate,
        })).collect::<Vec<Value>>(),
        "kernels": table,
    });
    std::fs::create_dir_all(&arguments.out)?;
    write_whole(&arguments.out.join("roofline.json"), &(serde_json::to_string_pretty(&result)? + "\n"))?;
    let figure = picture(best, &peaks, &levels, &points);
    write_whole(&arguments.out.join("roofline.svg"), &figure.svg()?)?;
    println!("\n{}", arguments.out.join("roofline.svg").display());
    Ok(())
}

/// The bytes of wh, by the width at the end of a recurrence's name: what a step reads again.
fn wh_bytes(name: &str) -> f64 {
    let hidden = name.rsplit(',').next().and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    4.0 * hidden * hidden
}

fn picture(best: Isa, peaks: &[(Isa, f64)], levels: &[(String, usize, f64)], points: &[Point]) -> Figure {
    let giga = 1e9;
    let (from, to) = (0.125, 512.0);
    let peak = peaks.iter().find(|(isa, _)| *isa == best).map_or(giga, |(_, flops)| *flops);
    let mut series = Vec::new();
    for (i, (name, _, rate)) in levels.iter().enumerate() {
        let ridge = peak / rate;
        series.push(Series {
            name: format!("{name}: {:.0} GB/s", rate / giga),
            points: vec![(from, from * rate / giga), (ridge, peak / giga), (to, peak / giga)],
            mark: Mark::Line,
            colour: i + 1,
        });
    }
    for (isa, flops) in peaks {
        series.push(Series {
            name: format!("peak, {isa}: {:.0} GFLOP/s", flops / giga),
            points: vec![(from * 8.0, flops / giga), (to, flops / giga)],
            mark: Mark::Line,
            colour: if *isa == best { 4 } else { 6 },
        });
    }
    let place = |point: &Point| (point.flops / point.bytes, point.flops / point.seconds / giga);
    series.push(Series {
        name: format!("kernels, {best} (numbers: see the table)"),
        points: points.iter().filter(|point| point.isa == best).map(place).collect(),
        mark: Mark::Numbers,
        colour: 0,
    });
    Figure {
        title: "One core: what it can do, and what the kernels do".to_string(),
        x: "floating-point operations for each byte".to_string(),
        y: "GFLOP/s".to_string(),
        size: (960, 640),
        series,
    }
}
