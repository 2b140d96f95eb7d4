/// Two processes must not use a peer's data folder at the same time.
#pragma once

#include <p2pdvm/base/result.hpp>
#include <p2pdvm/host/native/descriptor.hpp>

#include <string>

namespace p2pdvm::native {

/// The system takes it back when the process ends, however it ends.
class folder_lock {
 public:
  /// For a peer: makes the folder, closed to others, where there is none. Errors: `conflict`, `io`.
  result<> take(const std::string& folder);
  /// For those who only read, several at once. Makes nothing: a folder that no peer ever locked is
  /// not in use. Errors: `conflict`, `io`.
  result<> share(const std::string& folder);

 private:
  detail::descriptor file_;
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/folder_lock.ipp>
#endif
