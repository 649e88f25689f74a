//! What any log has to do, whatever keeps it: one suite, over files on the real and on the simulated disk, and
//! over rows of a table. The rows carry a queue as well.

mod fixture;
mod queue;
mod real;
mod rows;
mod session;
mod simulated;
mod suite;
mod sweep;

#[test]
fn files_on_a_real_disk_are_a_log() {
    suite::holds(&|| Box::new(real::RealFixture::new()));
}

#[test]
fn files_on_a_simulated_disk_are_a_log() {
    suite::holds(&|| Box::new(simulated::SimFixture::new()));
}

#[test]
fn rows_of_a_table_are_a_log() {
    suite::holds(&|| Box::<rows::RowFixture>::default());
}
