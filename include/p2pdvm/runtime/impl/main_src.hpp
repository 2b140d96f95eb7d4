/// The parts of the runtime that `main` needs: command line, output, processes.
#pragma once

#include <p2pdvm/runtime/impl/embedded_rank.ipp>
#include <p2pdvm/runtime/impl/local_processes.ipp>
#include <p2pdvm/runtime/impl/local_profile.ipp>
#include <p2pdvm/runtime/impl/main.ipp>
#include <p2pdvm/runtime/impl/native_driver.ipp>
#include <p2pdvm/runtime/impl/native_files.ipp>
#include <p2pdvm/runtime/impl/native_process.ipp>
#include <p2pdvm/runtime/impl/options.ipp>
#include <p2pdvm/runtime/impl/output_files.ipp>
#include <p2pdvm/runtime/impl/reporter.ipp>
#include <p2pdvm/runtime/impl/simulated_run.ipp>
