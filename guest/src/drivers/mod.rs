//! stub
pub mod console {
    /// x
    pub struct Full;
    /// x
    pub fn reclaim() -> usize {
        0
    }
    /// x
    pub fn transmit(_b: &'static [u8]) -> Result<(), Full> {
        Err(Full)
    }
}
