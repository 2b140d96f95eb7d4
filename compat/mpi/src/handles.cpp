/// Handles as integers, for languages that have no pointers.
#include "call.hpp"

#include <unordered_map>
#include <vector>

namespace p2pdvm::c_mpi {

namespace {

/// Numbers of what is not predefined; those of predefined handles are their values. A number is never given to another handle.
class numbered {
 public:
  int number(const void* handle) {
    const auto [place, fresh] = numbers_.try_emplace(handle, first + static_cast<int>(handles_.size()));
    if (fresh) handles_.push_back(const_cast<void*>(handle));
    return place->second;
  }
  [[nodiscard]] void* handle(int number) const {
    const auto index = static_cast<std::size_t>(number - first);
    return number >= first && index < handles_.size() ? handles_[index] : nullptr;
  }

 private:
  static constexpr int first = static_cast<int>(predefined_handles);
  std::unordered_map<const void*, int> numbers_;
  std::vector<void*> handles_;
};
numbered& all() {
  static numbered* const one = new numbered;
  return *one;
}

template <class Handle>
int number_as_int(Handle handle) {
  return is_predefined(handle) ? static_cast<int>(number_of(handle)) : all().number(handle);
}
template <class Handle>
Handle handle_from(int number) {
  if (number >= 0 && static_cast<std::uintptr_t>(number) < predefined_handles)
    return reinterpret_cast<Handle>(static_cast<std::uintptr_t>(number));
  return static_cast<Handle>(all().handle(number));
}

}  // namespace

#define P2PDVM_CONVERSIONS(name, type)                                                       \
  P2PDVM_FUNCTION(name##_toint)(MPI_##type handle) { return number_as_int(handle); }         \
  P2PDVM_FUNCTION_OF(MPI_##type, name##_fromint)(int number) { return handle_from<MPI_##type>(number); }
P2PDVM_CONVERSIONS(Comm, Comm)
P2PDVM_CONVERSIONS(Errhandler, Errhandler)
P2PDVM_CONVERSIONS(Group, Group)
P2PDVM_CONVERSIONS(Info, Info)
P2PDVM_CONVERSIONS(Message, Message)
P2PDVM_CONVERSIONS(Op, Op)
P2PDVM_CONVERSIONS(Request, Request)
P2PDVM_CONVERSIONS(Type, Datatype)

}  // namespace p2pdvm::c_mpi
