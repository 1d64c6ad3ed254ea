//! A model of Linux's rules on what comes from swap with a page: by slots (`swap_cluster_readahead`) and by the area of the
//! context (`swap_vma_readahead`), where pages that were read ahead are mapped with the one that is used. Pages are numbered
//! from 0 on; nothing is written to. One rule is not Linux's: where somebody goes on who used what was read, the next window
//! is read too.

use std::collections::HashMap;
use std::ops::Range;

/// What goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// What lies beside it on the disk.
    Slots,
    /// What lies beside it in the area.
    Area,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Is {
    Away,
    Ahead,
    Here,
}

pub struct Model {
    way: Way,
    most: u64,
    /// The number of the area's first page in the context.
    first: u64,
    slots: Vec<u64>,
    at_slot: HashMap<u64, usize>,
    pages: Vec<Is>,
    /// Where something was used or mapped last, the window then, hits since, and pages mapped since without a look.
    last: u64,
    window: u64,
    hits: u64,
    unseen: u64,
    pub majors: u64,
    pub ahead: u64,
    pub all_hits: u64,
    /// Reads of slots in a row are one.
    pub requests: u64,
}

impl Model {
    /// An area of pages that are all away, in these slots, from page `first` of the context on.
    pub fn new(way: Way, page_cluster: u32, first: u64, slots: Vec<u64>) -> Self {
        let at_slot = slots.iter().enumerate().map(|(n, &slot)| (slot, n)).collect();
        let pages = vec![Is::Away; slots.len()];
        let most = 1 << page_cluster.min(5);
        let (majors, ahead, all_hits, requests) = (0, 0, 0, 0);
        let (last, window, hits, unseen) = (0, 0, 4, 0);
        Self {
            way,
            most,
            first,
            slots,
            at_slot,
            pages,
            last,
            window,
            hits,
            unseen,
            majors,
            ahead,
            all_hits,
            requests,
        }
    }

    /// The pages that are read when page `n` is used, in order. `is_mapped` says of a page that was read ahead whether it was
    /// there in time to be mapped with it.
    pub fn touch(&mut self, n: usize, is_mapped: impl Fn(usize) -> bool) -> Vec<usize> {
        let was = std::mem::replace(&mut self.pages[n], Is::Here);
        let read = if was == Is::Away { self.read(n) } else { Vec::new() };
        if was != Is::Here {
            self.used(n, was == Is::Ahead);
            self.map_beside(n, is_mapped);
        }
        read
    }

    fn used(&mut self, n: usize, is_hit: bool) {
        if self.way == Way::Area {
            let at = self.first + n as u64;
            self.hits += self.take_unseen(at);
            self.last = at;
        }
        self.hits += u64::from(is_hit);
        self.all_hits += u64::from(is_hit);
        if self.way == Way::Area {
            self.hits = self.hits.min(63);
        }
    }

    /// What was mapped without a look was used by who goes on behind it.
    fn take_unseen(&mut self, at: u64) -> u64 {
        let unseen = std::mem::take(&mut self.unseen);
        if at.abs_diff(self.last) == 1 { unseen } else { 0 }
    }

    /// Pages that were read ahead are mapped with page `n`, upwards and then downwards.
    fn map_beside(&mut self, n: usize, is_mapped: impl Fn(usize) -> bool) {
        let (vpn, count) = (self.first + n as u64, self.pages.len());
        let in_table = |m: &usize| (self.first + *m as u64) / 512 == vpn / 512;
        let fits = |m: &usize| self.pages[*m] == Is::Ahead && is_mapped(*m);
        let most = self.most as usize - 1;
        let mut mapped: Vec<_> = (n + 1..count).take(most).filter(in_table).take_while(fits).collect();
        let furthest = mapped.last().copied();
        let left = most - mapped.len();
        mapped.extend((0..n).rev().take(left).take_while(in_table).take_while(fits));
        let Some(furthest) = furthest.or(mapped.last().copied()) else { return };
        mapped.iter().for_each(|&m| self.pages[m] = Is::Here);
        self.all_hits += mapped.len() as u64;
        self.unseen += mapped.len() as u64;
        self.last = match self.way {
            Way::Slots => self.slots[furthest],
            Way::Area => self.first + furthest as u64,
        };
    }

    fn read(&mut self, n: usize) -> Vec<usize> {
        self.majors += 1;
        let mut all = Vec::new();
        for window in self.beside(n) {
            let fits = |&m: &usize| m == n || self.pages[m] == Is::Away;
            let read: Vec<_> = window.into_iter().filter(fits).collect();
            for &m in read.iter().filter(|&&m| m != n) {
                self.pages[m] = Is::Ahead;
                self.ahead += 1;
            }
            let breaks =
                read.windows(2).filter(|pair| self.slots[pair[0]] + 1 != self.slots[pair[1]]).count();
            self.requests += u64::from(!read.is_empty()) + breaks as u64;
            all.extend(read);
        }
        all
    }

    /// What is read when page `n` is asked for: a window, and the next where somebody goes on who used what was read.
    fn beside(&mut self, n: usize) -> [Vec<usize>; 2] {
        match (self.way, self.most) {
            (_, 1) => [vec![n], Vec::new()],
            (Way::Slots, _) => {
                let slot = self.slots[n];
                let (window, step) = self.grow(slot);
                let first = slot - slot % window;
                // There is nothing before the first slot and behind the last of those that pages are in.
                next_to(first, window, step).map(|slots| {
                    slots.filter_map(|slot| self.at_slot.get(&u64::try_from(slot).ok()?).copied()).collect()
                })
            }
            (Way::Area, _) => {
                let (vpn, before) = (self.first + n as u64, self.last);
                let (window, step) = self.grow(vpn);
                let left = match () {
                    () if window == 1 || vpn == before + 1 => vpn,
                    () if vpn + 1 == before => vpn + 1 - window,
                    () => vpn - (window - 1) / 2,
                };
                // Not beyond the table, nor beyond the area.
                let table = vpn - vpn % 512;
                let (low, high) =
                    (self.first.max(table), (self.first + self.pages.len() as u64).min(table + 512));
                let inside = |vpn: &i64| (low as i64..high as i64).contains(vpn);
                let number = |vpn: i64| (vpn - self.first as i64) as usize;
                next_to(left, window, step).map(|vpns| vpns.filter(inside).map(number).collect())
            }
        }
    }

    /// The window where `at` is asked for, and on which side of it the next is: 0 if there is none.
    fn grow(&mut self, at: u64) -> (u64, i64) {
        let before = self.last;
        let goes_on = at.abs_diff(before) == 1;
        let hits = self.hits + self.take_unseen(at);
        let wanted = match hits {
            0 if goes_on => 2,
            0 => 1,
            1..=2 => 4,
            3..=6 => 8,
            7..=14 => 16,
            _ => 32,
        };
        let window = wanted.min(self.most).max(self.window / 2);
        (self.last, self.window, self.hits) = (at, window, 0);
        let is_used = hits != 0 && goes_on;
        (window, if is_used { at as i64 - before as i64 } else { 0 })
    }
}

/// A window of `pages` from `first` on, and as many on one side of it.
fn next_to(first: u64, pages: u64, step: i64) -> [Range<i64>; 2] {
    let (first, pages) = (first as i64, pages as i64);
    let next = first + step * pages;
    [first..first + pages, if step == 0 { 0..0 } else { next..next + pages }]
}
