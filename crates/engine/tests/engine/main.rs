//! What users notice of sessions, jobs and restarts, through the engine's own interface.

mod analyze;
mod chain;
mod dead;
mod defects;
mod edges;
mod handover;
mod held;
mod house;
mod jobs;
mod kept;
mod lacking;
mod landings;
mod large;
mod lookups;
mod outside;
mod own;
mod place;
mod queries;
mod restarts;
mod retention;
mod rounds;
mod scripts;
mod writers;
