/// What a launcher of C programs was asked for.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::compat {

/// Whose programs they are, in the words of their users.
struct environment {
  const char* launcher;   ///< its name: "p2pdvm-mpiexec"
  const char* programs;   ///< "an MPI program that was compiled by p2pdvm-mpicc or p2pdvm-mpicxx"
  const char* begins;     ///< the call by which a program takes part: "MPI_Init"
  const char* ends;       ///< the one by which it ends that: "MPI_Finalize"
  const char* timeout;    ///< the environment variable that says what `--timeout` does not
};

struct options {
  unsigned processes = 1;  ///< started here
  unsigned ranks = 0;      ///< of the job on all computers; 0: as many as here
  bool host = false;
  std::string join;        ///< a ticket
  std::string listen;      ///< ADDR:PORT
  std::string shared_memory = "on";
  std::string profile, seed = "1";
  bool quiet = false;
  unsigned timeout = 0;    ///< seconds after which all is ended; 0: never
  std::string data;        ///< where checkpoints are kept, a folder for each process; empty: as long as it runs
  bool restart = false;    ///< from what is there
  bool restart_on_loss = false;
  std::vector<std::string> command;  ///< the program and its arguments
};

/// What to print instead, and the exit code: 0 when it was asked for.
struct stop {
  int code;
  std::string text;
};
[[nodiscard]] std::optional<stop> parse(const environment& of, int argc, char** argv, options& into);

}  // namespace p2pdvm::compat
