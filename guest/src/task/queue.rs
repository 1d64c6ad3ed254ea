//! An intrusive first-in-first-out queue of tasks.
//!
//! Owns: head, tail and the link inside each task. Invariants: a task is on at most one queue of each kind;
//! links are touched only under the queue's lock; a task lives at least until it is taken off.

use super::Task;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A task's place in a queue.
pub struct Link(AtomicPtr<Task>);

impl Link {
    /// In no queue.
    pub const fn new() -> Self {
        Self(AtomicPtr::new(null_mut()))
    }
}

/// A queue through [`Task::link`].
pub struct Queue {
    head: *mut Task,
    tail: *mut Task,
    link: fn(&Task) -> &Link,
}

// SAFETY: the pointers are to tasks that live while they are queued; the queue's lock orders all access.
unsafe impl Send for Queue {}

impl Queue {
    /// An empty run queue.
    pub const fn new() -> Self {
        Self { head: null_mut(), tail: null_mut(), link: |task| &task.link }
    }

    /// An empty queue of waiters.
    pub const fn of_waiters() -> Self {
        Self { head: null_mut(), tail: null_mut(), link: |task| &task.wait_link }
    }

    /// An empty list of all tasks.
    pub const fn of_all() -> Self {
        Self { head: null_mut(), tail: null_mut(), link: |task| &task.all_link }
    }

    /// Whether nobody is queued.
    pub fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Puts a task at the end.
    pub fn push(&mut self, task: &'static Task) {
        let raw = task as *const Task as *mut Task;
        (self.link)(task).0.store(null_mut(), Ordering::Relaxed);
        if self.head.is_null() {
            self.head = raw;
        } else {
            // SAFETY: the tail of a non-empty queue is a queued task.
            (self.link)(unsafe { &*self.tail }).0.store(raw, Ordering::Relaxed);
        }
        self.tail = raw;
    }

    /// Takes the first task.
    pub fn pop(&mut self) -> Option<&'static Task> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: the head is a queued task, and what it was queued for keeps it until it has run.
        let task = unsafe { &*self.head };
        self.head = (self.link)(task).0.load(Ordering::Relaxed);
        Some(task)
    }

    /// The queued tasks, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Task> {
        let mut at = self.head;
        core::iter::from_fn(move || {
            // SAFETY: null, or a queued task, which stays queued while the queue is borrowed.
            let task = unsafe { at.as_ref() }?;
            at = (self.link)(task).0.load(Ordering::Relaxed);
            Some(task)
        })
    }

    /// Takes one task out, wherever it is.
    pub fn remove(&mut self, task: &Task) {
        let wanted = task as *const Task as *mut Task;
        let (mut before, mut at) = (null_mut::<Task>(), self.head);
        while !at.is_null() && at != wanted {
            before = at;
            // SAFETY: every queued pointer is to a task.
            at = (self.link)(unsafe { &*at }).0.load(Ordering::Relaxed);
        }
        if at.is_null() {
            return;
        }
        let next = (self.link)(task).0.load(Ordering::Relaxed);
        if before.is_null() {
            self.head = next;
        } else {
            // SAFETY: as above.
            (self.link)(unsafe { &*before }).0.store(next, Ordering::Relaxed);
        }
        if self.tail == wanted {
            self.tail = before;
        }
    }
}
