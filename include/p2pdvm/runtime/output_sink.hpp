/// Where the files that a program writes appear on this peer.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>

#include <cstdint>
#include <set>
#include <string>

namespace p2pdvm::runtime {

/// Given to a peer by whoever started it. Called with the driver token held; must not call the peer back.
class output_sink {
 public:
  virtual ~output_sink() = default;
  /// Which of the job's outputs are wanted here.
  [[nodiscard]] virtual const std::set<std::string>& names() const = 0;
  /// Whether this process is to write that one as checkpoints commit; once it is, it stays so. Else it is given the whole file at
  /// the end.
  [[nodiscard]] virtual bool mine(const std::string& name) = 0;
  /// The file is what was written before `at`, these bytes, and nothing behind them. The first write, and any after a checkpoint
  /// was lost, is at 0; what the file has there already need not be written again. After an error the same comes again, with more.
  virtual result<> write(const std::string& name, std::uint64_t at, byte_view bytes) = 0;
  /// The same for the last time, also when it is not `mine`. What goes wrong now is the sink's own affair.
  virtual void complete(const std::string& name, std::uint64_t at, byte_view bytes) = 0;
};

}  // namespace p2pdvm::runtime
