//! Rules of a NUMA topology.

use proptest::prelude::*;
use shared::numa::{DistanceError, TopologyError, check_distances, check_topology};

#[test]
fn distances() {
    assert_eq!(check_distances(1, &[10]), Ok(()));
    assert_eq!(check_distances(2, &[10, 11, 11, 10]), Ok(()));
    assert_eq!(check_distances(2, &[10, 254, 254, 10]), Ok(()));
    let cases: &[(usize, &[u8], &str)] = &[
        (0, &[], "0 distances for 0 nodes, give 0 for each node"),
        (2, &[10, 20, 20], "3 distances for 2 nodes, give 2 for each node"),
        (1, &[9], "distance of node 0 to itself is 9, use 10"),
        (2, &[10, 9, 9, 10], "distance of node 0 to node 1 is 9, use 11 to 254"),
        (2, &[10, 10, 10, 10], "distance of node 0 to node 1 is 10, use 11 to 254"),
        (2, &[10, 20, 255, 10], "distance of node 1 to node 0 is 255, use 11 to 254"),
        (2, &[10, 20, 21, 10], "distance of node 0 to node 1 is 20 but 21 back, use the same both ways"),
        (2, &[10, 20, 20, 11], "distance of node 1 to itself is 11, use 10"),
    ];
    for (nodes, matrix, text) in cases {
        let error = check_distances(*nodes, matrix).expect_err(text);
        assert_eq!(error.to_string(), format!("invalid SLIT entry: {text}"));
    }
    assert_eq!(check_distances(usize::MAX, &[]), Err(DistanceError::Size { nodes: usize::MAX, entries: 0 }));
}

#[test]
fn topology() {
    assert_eq!(check_topology(&[0, 1], &[1, 1]), Ok(()));
    assert_eq!(check_topology(&[0, 0], &[1, 0]), Ok(()), "a node without CPUs or memory is fine");
    assert_eq!(check_topology(&[], &[]), Err(TopologyError::NodeCount { nodes: 0 }));
    assert_eq!(check_topology(&[], &[1; 9]), Err(TopologyError::NodeCount { nodes: 9 }));
    assert_eq!(check_topology(&[0, 2], &[1, 1]), Err(TopologyError::UnknownNode { cpu: 1, node: 2 }));
    assert_eq!(check_topology(&[0], &[0, 0]), Err(TopologyError::NoMemory));
}

proptest! {
    /// A symmetric matrix in range passes; any one changed entry is refused.
    #[test]
    fn one_wrong_entry_is_seen(nodes in 2usize..8, seed in any::<u64>(), at in any::<prop::sample::Index>(), delta in 1u8..=255) {
        let mut matrix = vec![10u8; nodes * nodes];
        for i in 0..nodes {
            for j in 0..i {
                let distance = 11 + ((seed >> ((i * 7 + j) % 56)) % 244) as u8;
                matrix[i * nodes + j] = distance;
                matrix[j * nodes + i] = distance;
            }
        }
        prop_assert_eq!(check_distances(nodes, &matrix), Ok(()));
        let at = at.index(matrix.len());
        matrix[at] = matrix[at].wrapping_add(delta);
        prop_assert!(check_distances(nodes, &matrix).is_err());
    }
}
