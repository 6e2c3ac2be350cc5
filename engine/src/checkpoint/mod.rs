//! Checkpoints: what is saved, when it is complete, how a job resumes.

/// Number of a checkpoint, from 1, increasing over restarts of a job.
pub type Epoch = u64;
