//! One sentence computed by several threads at once.
//!
//! The members of a team share the columns of a step, and exchange what they have computed after each; they
//! spin while they wait, because a step takes about a microsecond. All members run the same code
//! ([`crate::sentence`]) on scratch memory of their own, so a member that is alone exchanges nothing and the
//! bits are the same for any number of members.
//!
//! On a busy machine a member may have to wait for one that the system has put aside. [`Choice`] therefore
//! measures both ways now and then, and takes the one that has been faster.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::matrix::{Buffer, buffer};
use crate::num::Num;

/// What the members of a team have in common.
pub(crate) struct Team<T: Num> {
    members: usize,
    /// The number of a sentence's first exchange, and how many it may have.
    round: u32,
    exchanges: u32,
    broken: AtomicBool,
    /// Two rows of slots, used in turn: a member may still read one while another already writes the other;
    /// it cannot come to the next but one before all have published the next, and so read this one.
    slots: [Buffer<T::Slot>; 2],
}

impl<T: Num> Team<T> {
    pub(crate) fn new() -> Self {
        Team {
            members: 1,
            round: 1,
            exchanges: 0,
            broken: AtomicBool::new(false),
            slots: [buffer(), buffer()],
        }
    }

    /// Makes ready for a sentence: so many members and exchanges, and no exchange of more than `len`
    /// numbers.
    pub(crate) fn begin(&mut self, members: usize, exchanges: usize, len: usize) {
        // Beyond the rounds that the last sentence may have left in the slots.
        self.round = self.round.wrapping_add(self.exchanges);
        self.exchanges = exchanges as u32;
        self.members = members;
        *self.broken.get_mut() = false;
        for slots in &mut self.slots {
            while slots.len() < members + len {
                slots.push(T::Slot::default());
            }
        }
    }

    /// One member; each index is to be taken once.
    pub(crate) fn member(&self, index: usize) -> Member<'_, T> {
        Member { team: Some(self), index, round: self.round }
    }
}

/// One thread of a team.
pub(crate) struct Member<'a, T: Num> {
    team: Option<&'a Team<T>>,
    index: usize,
    round: u32,
}

impl<T: Num> Member<'_, T> {
    /// A thread that computes a sentence alone.
    pub(crate) fn alone() -> Self {
        Member { team: None, index: 0, round: 0 }
    }

    /// Members in all.
    fn members(&self) -> usize {
        self.team.map_or(1, |team| team.members)
    }

    /// This member's share of `n` columns, in whole vectors.
    pub(crate) fn vectors(&self, n: usize) -> Range<usize> {
        share(n, self.index, self.members(), T::LANES)
    }

    /// This member's share of `n` columns.
    pub(crate) fn columns(&self, n: usize) -> Range<usize> {
        share(n, self.index, self.members(), 1)
    }

    /// Gives the others this member's columns `own` of some rows, and takes theirs: afterwards each has
    /// all `0..n` columns. `share_of(i)` is what member i has.
    fn exchange(&mut self, rows: &mut [T], stride: usize, n: usize, unit: usize) {
        let Some(team) = self.team else { return };
        let share_of = |member| share(n, member, team.members, unit);
        let round = self.round;
        // Beyond these the next sentence would take a number of this one for its own.
        assert!(round.wrapping_sub(team.round) < team.exchanges, "more exchanges than were announced");
        self.round = round.wrapping_add(1);
        let slots = &team.slots[round as usize % 2];
        // A member whose share is empty still says that it has come so far, or the others could get ahead of
        // it and use the slots again that it has yet to read.
        let (present, slots) = slots.split_at(team.members);
        assert!(slots.len() >= rows.len().div_ceil(stride) * n, "too few slots for an exchange");
        T::zero().publish(round, &present[self.index]);
        let own = share_of(self.index);
        for (row, slots) in rows.chunks(stride).zip(slots.chunks(n)) {
            for (value, slot) in row[own.clone()].iter().zip(&slots[own.clone()]) {
                value.publish(round, slot);
            }
        }
        for other in (0..team.members).filter(|other| *other != self.index) {
            let theirs = share_of(other);
            if theirs.is_empty() && T::fetch(round, &present[other]).is_none() {
                team.wait(round, &present[other]);
            }
            for (row, slots) in rows.chunks_mut(stride).zip(slots.chunks(n)) {
                for (value, slot) in row[theirs.clone()].iter_mut().zip(&slots[theirs.clone()]) {
                    *value = T::fetch(round, slot).unwrap_or_else(|| team.wait(round, slot));
                }
            }
        }
    }

    /// [`Member::exchange`] of shares in whole vectors.
    pub(crate) fn exchange_vectors(&mut self, rows: &mut [T], stride: usize, n: usize) {
        self.exchange(rows, stride, n, T::LANES);
    }

    /// [`Member::exchange`] of shares in single columns.
    pub(crate) fn exchange_columns(&mut self, rows: &mut [T], stride: usize, n: usize) {
        self.exchange(rows, stride, n, 1);
    }
}

impl<T: Num> Team<T> {
    /// The number of a slot, once it has been published.
    #[cold]
    fn wait(&self, round: u32, slot: &T::Slot) -> T {
        let mut spins = 0u32;
        loop {
            if let Some(value) = T::fetch(round, slot) {
                return value;
            }
            assert!(!self.broken.load(Ordering::Relaxed), "another thread of the team has panicked");
            spins += 1;
            if spins < 4096 {
                std::hint::spin_loop();
            } else {
                // The other may be waiting for this very core.
                std::thread::yield_now();
            }
        }
    }
}

impl<T: Num> Drop for Member<'_, T> {
    fn drop(&mut self) {
        if let (true, Some(team)) = (std::thread::panicking(), self.team) {
            team.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// The share of one of `members` of `n` columns in units of `unit`; the last unit may be cut short.
pub(crate) fn share(n: usize, member: usize, members: usize, unit: usize) -> Range<usize> {
    let units = n.div_ceil(unit);
    let at = |member: usize| (member * units / members * unit).min(n);
    at(member)..at(member + 1)
}

/// Chooses between alone and together by what has been faster, so that no more than a small part of the
/// time is ever lost to the slower way.
pub(crate) struct Choice {
    together: Way,
    alone: Way,
    left: u32,
    trying: bool,
    use_together: bool,
}

#[derive(Default)]
struct Way {
    words: usize,
    time: Duration,
}

/// Sentences of a trial of each way, and until the next one.
const TRIAL: u32 = 24;
const TERM: u32 = 1000;

impl Choice {
    pub(crate) fn new() -> Self {
        Choice {
            together: Way::default(),
            alone: Way::default(),
            left: 2 * TRIAL,
            trying: true,
            use_together: true,
        }
    }

    /// Whether the next sentence is to be computed together.
    pub(crate) fn together(&self) -> bool {
        self.use_together
    }

    /// Counts a sentence that was computed as [`Choice::together`] said.
    pub(crate) fn count(&mut self, words: usize, since: Instant) {
        if self.trying {
            let way = if self.use_together { &mut self.together } else { &mut self.alone };
            way.words += words;
            way.time += since.elapsed();
        }
        self.left -= 1;
        match (self.left, self.trying) {
            (TRIAL, true) => self.use_together = false,
            (0, true) => {
                let per_word = |way: &Way| way.time.as_secs_f64() / way.words.max(1) as f64;
                self.use_together = per_word(&self.together) < per_word(&self.alone);
                (self.left, self.trying) = (TERM, false);
            }
            (0, false) => *self = Choice::new(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        for n in [1, 15, 16, 17, 50, 208] {
            for members in 1..=8 {
                for unit in [1, 16] {
                    let shares: Vec<_> = (0..members).map(|m| share(n, m, members, unit)).collect();
                    let all: Vec<usize> = shares.iter().cloned().flatten().collect();
                    assert_eq!(all, (0..n).collect::<Vec<_>>(), "{n} {members} {unit}");
                    assert!(shares.iter().all(|s| s.start % unit == 0 || s.is_empty()));
                }
            }
        }
    }

    #[test]
    fn members_exchange_their_columns() {
        let mut team = Team::<f32>::new();
        // More exchanges, then fewer: no number of an earlier sentence may be taken for one of this.
        for (members, rounds) in [(1, 5), (2, 50), (3, 20), (4, 7), (4, 3), (2, 50)] {
            team.begin(members, rounds, 3 * 40);
            std::thread::scope(|scope| {
                for index in 0..members {
                    let mut member = team.member(index);
                    scope.spawn(move || {
                        for round in 0..rounds {
                            let mut rows = [f32::NAN; 3 * 48];
                            for (r, row) in rows.chunks_mut(48).enumerate() {
                                for c in member.vectors(40) {
                                    row[c] = (rounds * 5000 + round * 1000 + r * 100 + c) as f32;
                                }
                            }
                            member.exchange_vectors(&mut rows, 48, 40);
                            for (r, row) in rows.chunks(48).enumerate() {
                                for (c, value) in row[..40].iter().enumerate() {
                                    assert_eq!(*value, (rounds * 5000 + round * 1000 + r * 100 + c) as f32);
                                }
                            }
                        }
                    });
                }
            });
        }
    }

    #[test]
    #[should_panic(expected = "more exchanges than were announced")]
    fn an_exchange_that_was_not_announced_is_refused() {
        let mut team = Team::<f64>::new();
        team.begin(1, 2, 8);
        let mut member = team.member(0);
        (0..3).for_each(|_| member.exchange_vectors(&mut [0.0; 8], 8, 8));
    }

    #[test]
    fn a_member_that_panics_does_not_leave_the_others_waiting() {
        let mut team = Team::<f32>::new();
        team.begin(2, 1, 40);
        let team = Arc::new(team);
        let (ended, end) = mpsc::channel();
        let waiting = Arc::clone(&team);
        let waiting = std::thread::spawn(move || {
            let _ended: mpsc::Sender<()> = ended;
            waiting.member(0).exchange_vectors(&mut [0.0; 48], 48, 40);
        });
        let broken = std::thread::spawn(move || {
            let _member = team.member(1);
            panic!("planted");
        });
        assert!(broken.join().is_err());
        // Nothing is sent: the waiting thread drops its end when it panics.
        assert_eq!(end.recv_timeout(Duration::from_secs(20)), Err(mpsc::RecvTimeoutError::Disconnected));
        let message = waiting.join().unwrap_err();
        assert_eq!(message.downcast_ref(), Some(&"another thread of the team has panicked"));
    }

    #[test]
    fn the_faster_way_is_taken() {
        let mut choice = Choice::new();
        let mut together = 0;
        for _ in 0..2 * TRIAL + TERM {
            together += u32::from(choice.together());
            // Together is made to look slow.
            let ago = if choice.together() { Duration::from_millis(5) } else { Duration::ZERO };
            choice.count(10, Instant::now() - ago);
        }
        assert_eq!(together, TRIAL);
        assert!(choice.together(), "tried again after a term");
        for _ in 0..2 * TRIAL {
            let ago = if choice.together() { Duration::ZERO } else { Duration::from_millis(5) };
            choice.count(10, Instant::now() - ago);
        }
        assert!(choice.together());
    }
}
