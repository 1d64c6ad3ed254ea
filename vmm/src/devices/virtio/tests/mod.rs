//! Tests of the virtio devices through their register interface.
