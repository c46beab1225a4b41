//! The program itself against a real PostgreSQL: the chain, kill -9, solutions, scripts as
//! users write them, and wrong input.

mod bad_rows;
mod chain;
mod clock;
mod damage;
mod damaged_chain;
mod disks;
mod events;
mod fail_over;
mod faults;
mod fencing;
mod large;
mod layers;
mod lookups;
mod no_contents;
mod own_disk;
mod processes;
mod program;
mod recorded;
mod scripts;
mod servers;
mod shared_target;
mod sink_anew;
mod sink_away;
mod sink_rules;
mod solutions;
mod source_disk;
mod source_moved;
mod source_schema;
mod source_slot;
mod trace;
mod wrong;
