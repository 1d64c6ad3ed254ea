//! Errors that are told while others ask, and while more come, under the model checker.

extern crate std;

use super::{ErrSample, ErrSeq};
use crate::errno::Errno;
use loom::sync::Arc;
use loom::thread;

/// How many of two who share a file are told, when `more` errors come while they ask.
fn told(more: u32) -> (u32, Arc<(ErrSeq, ErrSample)>) {
    let seq = ErrSeq::new();
    let sample = seq.sample();
    let file = Arc::new((seq, sample));
    file.0.set(Errno::Eio);
    let ask = |file: &Arc<(ErrSeq, ErrSample)>| {
        let file = Arc::clone(file);
        thread::spawn(move || u32::from(file.0.check_and_advance(&file.1).is_err()))
    };
    let both = [ask(&file), ask(&file)];
    (0..more).for_each(|_| file.0.set(Errno::Enospc));
    (both.into_iter().map(|one| one.join().unwrap()).sum(), file)
}

#[test]
fn one_of_two_who_share_a_file_is_told() {
    loom::model(|| {
        let (told, file) = told(0);
        assert_eq!(told, 1);
        assert!(file.0.check_and_advance(&file.1).is_ok());
    });
}

#[test]
fn an_error_that_comes_meanwhile_is_told_too() {
    loom::model(|| {
        let (told, file) = told(1);
        let late = u32::from(file.0.check_and_advance(&file.1).is_err());
        // Two that nobody saw in between are one.
        assert!((1..=2).contains(&(told + late)), "{told} and {late}");
        assert!(file.0.check_and_advance(&file.1).is_ok());
        // Who opens the file now knows of both.
        assert!(file.0.check_and_advance(&file.0.sample()).is_ok());
    });
}
