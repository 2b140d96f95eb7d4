/// The three ways in which `main` runs a program on this computer.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/runtime/options.hpp>

#include <map>
#include <string>

namespace p2pdvm::runtime {

/// BLAKE2b-256 of this process's executable file.
[[nodiscard]] result<digest256> executable_digest();
/// Reads the files of `--name FILE` options; errors name the file.
[[nodiscard]] result<std::map<std::string, byte_vector>> read_inputs(
    const std::map<std::string, std::string>& files);
/// Replaces each file whole; results without a file are skipped.
[[nodiscard]] result<> write_outputs(const std::map<std::string, std::string>& files,
                                     const std::map<std::string, byte_vector>& results);

/// One peer in this process, alone or with others elsewhere. Gives the exit code.
int run_peer(const peal::program& program, const command_line& how);
/// `--local N`: starts N processes of this program and reports on them.
int run_local(const peal::program& program, const command_line& how);
/// `--simulate`: all peers in virtual time.
int run_simulated(const peal::program& program, const command_line& how);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/local_processes.ipp>
#include <p2pdvm/runtime/impl/native_process.ipp>
#include <p2pdvm/runtime/impl/simulated_run.ipp>
#endif
