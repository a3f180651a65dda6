//! The lock of lockbydir on etcd.
