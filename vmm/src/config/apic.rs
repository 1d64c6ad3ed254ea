//! Packages, cores and APIC ids: the topology that CPUID and ACPI show.
//!
//! A NUMA node is a package, as on most machines, so that what CPUID says of shared caches agrees with the nodes.
//! Owns: the numbers. Stays outside: how they are told (`kvm::cpuid`, `acpi`).
//! Invariant: ids are distinct and below 255, which is the broadcast.
//! Source: Intel SDM volume 3, section 9.9 (hierarchical mapping of ids).

use super::Topology;

/// With several packages, the least number of bits for a core. On AMD CPUs that do not tell how many cores share the
/// last cache, Linux takes it to be eight.
const MIN_CORE_BITS: u32 = 3;
/// The largest id.
const MAX_ID: u32 = 254;

/// Where one vCPU sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApicPlace {
    /// Its APIC id: the package in the upper bits, the core in the lower.
    pub id: u8,
    /// How many bits the core has.
    pub core_bits: u32,
    /// How many cores the package has.
    pub cores: u8,
}

impl ApicPlace {
    /// The package.
    pub fn package(self) -> u8 {
        self.id >> self.core_bits
    }

    /// The core in its package.
    pub fn core(self) -> u8 {
        self.id - (self.package() << self.core_bits)
    }
}

/// The place of each vCPU of `topology`, by index. A machine too large for a package per node is one package.
pub fn places(topology: &Topology) -> Vec<ApicPlace> {
    let nodes: Vec<_> = topology.cpu_nodes().collect();
    numbered(&nodes).unwrap_or_else(|| numbered(&vec![0; nodes.len()]).unwrap_or_default())
}

/// Ids for vCPUs in these packages, unless they are too large.
fn numbered(packages: &[u32]) -> Option<Vec<ApicPlace>> {
    let members = |package| packages.iter().filter(|&&other| other == package).count();
    let largest = packages.iter().map(|&package| members(package)).max()?;
    let least = if packages.iter().any(|&package| package != 0) { MIN_CORE_BITS } else { 0 };
    let core_bits = largest.next_power_of_two().ilog2().max(least);
    let place = |(index, &package): (usize, &u32)| {
        let before = packages.iter().take(index).filter(|&&other| other == package).count();
        let id = Some(package << core_bits | before as u32).filter(|&id| id <= MAX_ID)?;
        Some(ApicPlace { id: id as u8, core_bits, cores: members(package) as u8 })
    };
    packages.iter().enumerate().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(packages: &[u32]) -> Option<Vec<u8>> {
        Some(numbered(packages)?.iter().map(|place| place.id).collect())
    }

    #[test]
    fn one_node_is_one_package_without_gaps() {
        assert_eq!(ids(&[0; 6]).unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(numbered(&[0; 6]).unwrap()[5], ApicPlace { id: 5, core_bits: 3, cores: 6 });
        assert_eq!(numbered(&[0]).unwrap()[0], ApicPlace { id: 0, core_bits: 0, cores: 1 });
    }

    #[test]
    fn each_node_is_a_package_however_its_cpus_are_numbered() {
        assert_eq!(ids(&[0, 1, 0, 1]).unwrap(), [0, 8, 1, 9]);
        let places = numbered(&[1, 1, 0]).unwrap();
        assert_eq!(
            places.iter().map(|place| (place.package(), place.core())).collect::<Vec<_>>(),
            [(1, 0), (1, 1), (0, 0)]
        );
        assert_eq!(places.iter().map(|place| place.cores).collect::<Vec<_>>(), [2, 2, 1]);
    }

    #[test]
    fn ids_that_do_not_fit_are_refused() {
        let mut packages = vec![0; 57];
        packages.extend([1, 2, 3]);
        assert_eq!(numbered(&packages).unwrap().last().unwrap().id, 3 << 6);
        packages.push(4);
        assert_eq!(numbered(&packages), None);
    }
}
