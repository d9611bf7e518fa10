//! Instruction sets: what this CPU has, and the one place where a call is dispatched to one of them.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use elman::Error;
use fearless_simd::{Level, Simd};

/// Without the feature `portable`, WebAssembly has [`Isa::Exact`] alone, whose vectors are then those of simd128: half of
/// the code, for a page that is downloaded.
pub(crate) const ONLY_EXACT: bool = cfg!(all(target_arch = "wasm32", not(feature = "portable")));

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// The instructions that every CPU of the target has, with a multiply-add that is computed so that it rounds once:
    /// the bits of the fused ones, for CPUs without them and for WebAssembly. It is many times slower than
    /// [`Isa::Portable`], and nobody gets it without asking, unless the target has no vector instructions at all.
    Exact,
    /// The instructions that every CPU of the target has (SSE2 on x86-64, simd128 in WebAssembly, with the crate's
    /// feature `portable`). They have no fused multiply-add, so the results are as correct as the others' but not the same
    /// bits.
    Portable,
    /// AVX2 and FMA (x86-64-v3).
    Avx2,
    /// AVX-512 as of Ice Lake and Zen 4.
    Avx512,
    /// NEON, on 64-bit ARM.
    Neon,
}

impl Isa {
    /// All instruction sets, whether this CPU has them or not.
    pub const ALL: [Isa; 5] = [Isa::Exact, Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Neon];

    /// The instruction sets that this CPU has, the fastest last; [`Isa::Exact`] only where there is no other.
    pub fn available() -> Vec<Isa> {
        let all: Vec<Isa> =
            Isa::ALL.into_iter().filter(|isa| *isa != Isa::Exact && isa.level().is_some()).collect();
        if all.is_empty() { vec![Isa::Exact] } else { all }
    }

    /// Those that give the same bits here: [`Isa::Exact`], then the ones of this CPU that fuse.
    pub fn promised() -> Vec<Isa> {
        let fused = Isa::available().into_iter().filter(|isa| isa.is_fused() && *isa != Isa::Exact);
        std::iter::once(Isa::Exact).chain(fused).collect()
    }

    /// The fastest instruction set of this CPU.
    pub fn best() -> Isa {
        Isa::available().last().copied().unwrap_or(Isa::Exact)
    }

    /// Its name, as `--isa` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Exact => "exact",
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Whether multiply-add rounds once: only then do two instruction sets give the same bits.
    pub fn is_fused(self) -> bool {
        self != Isa::Portable
    }

    fn level(self) -> Option<Level> {
        let best = Level::new();
        if self == Isa::Exact {
            return Some(if ONLY_EXACT { best } else { Level::fallback() });
        }
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        return match self {
            Isa::Portable => best.as_sse2().map(Level::Sse2),
            Isa::Avx2 => best.as_avx2().map(Level::Avx2),
            Isa::Avx512 => best.as_avx512().map(Level::Avx512),
            Isa::Exact | Isa::Neon => None,
        };
        #[cfg(target_arch = "aarch64")]
        return (self == Isa::Neon && best.as_neon().is_some()).then_some(best);
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        return (self == Isa::Portable && !ONLY_EXACT && !best.is_fallback()).then_some(best);
    }

    /// The proof that this CPU has the instruction set.
    pub(crate) fn detect(self) -> Result<Cpu, Error> {
        self.level().map(|level| Cpu { isa: self, level }).ok_or_else(|| Error::Unsupported {
            what: "instruction set".to_string(),
            expected: format!("one that this CPU has ({})", names(&Isa::available())),
            found: self.name().to_string(),
        })
    }
}

fn names(isas: &[Isa]) -> String {
    isas.iter().map(|isa| isa.name()).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| Error::Unsupported {
            what: "instruction set".to_string(),
            expected: names(&Isa::ALL),
            found: name.to_string(),
        })
    }
}

/// Bytes of a core's second-level cache, as the CPU says; 512 KiB where it says nothing.
pub(crate) fn second_level_cache() -> usize {
    static BYTES: LazyLock<usize> = LazyLock::new(|| {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let kilobytes =
            raw_cpuid::CpuId::new().get_l2_l3_cache_and_tlb_info().map(|info| info.l2cache_size());
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64")))]
        let kilobytes: Option<u16> = None;
        usize::from(kilobytes.filter(|size| *size > 0).unwrap_or(512)) << 10
    });
    *BYTES
}

/// Proof that this CPU has an instruction set: it can only be made by detection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpu {
    isa: Isa,
    level: Level,
}

/// Work that is compiled once for each instruction set. `run` and all that it calls must be
/// `#[inline(always)]` up to the next [`Simd::vectorize`].
pub(crate) trait Task {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl Cpu {
    pub(crate) fn isa(self) -> Isa {
        self.isa
    }

    /// Runs a task in code that is compiled for this instruction set.
    #[inline]
    pub(crate) fn run<K: Task>(self, task: K) -> K::Output {
        // SSE4.2 has nothing that the kernels would use, so it is not compiled for.
        match self.level {
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Level::Avx512(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Level::Avx2(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Level::Sse2(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            #[cfg(not(all(target_arch = "wasm32", target_feature = "simd128", not(feature = "portable"))))]
            Level::Fallback(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            #[cfg(target_arch = "aarch64")]
            Level::Neon(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            #[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
            Level::WasmSimd128(simd) => simd.vectorize(
                #[inline(always)]
                || task.run(simd),
            ),
            _ => unreachable!("Isa::level makes none but those above"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_all_but_one_fuse() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse::<Isa>().unwrap(), isa);
        }
        let fused = Isa::ALL.into_iter().filter(|isa| isa.is_fused());
        assert_eq!(names(&fused.collect::<Vec<_>>()), "exact, avx2, avx512, neon");
        let message = "sse9".parse::<Isa>().unwrap_err().to_string();
        assert_eq!(message, "instruction set: expected exact, portable, avx2, avx512, neon, found sse9");
    }

    #[test]
    fn what_is_available_can_be_detected_and_what_is_not_is_refused() {
        let available = Isa::available();
        assert!(!available.is_empty());
        for isa in Isa::ALL {
            assert_eq!(isa.detect().is_ok(), available.contains(&isa) || isa == Isa::Exact, "{isa}");
        }
        assert_eq!(available.last(), Some(&Isa::best()));
        assert!(Isa::promised().iter().all(|isa| isa.is_fused() && isa.detect().is_ok()));
        // A machine that is said to have an instruction set must really have it: a test that is skipped
        // because detection broke would otherwise pass.
        if let Ok(required) = std::env::var("ELMAN_REQUIRE_ISA") {
            for name in required.split(',').filter(|name| !name.is_empty()) {
                assert!(available.contains(&name.parse().unwrap()), "{name} is required but not available");
            }
        }
    }
}
