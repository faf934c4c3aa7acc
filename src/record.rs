//! The records that the lab writes: a timestamp and a random number under a key of their own.
//!
//! A record is unique to (run, sequence number). Its key and value follow from the run, the sequence
//! number and the timestamp alone, so that sending it again is harmless and the ledger need not
//! store values. The random number is drawn from a generator seeded by run and sequence number.
