#include "info.hpp"

#include "call.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace p2pdvm::c_mpi {

namespace {

auto place_of(const std::vector<std::pair<std::string, std::string>>& pairs, const std::string& key) {
  return std::find_if(pairs.begin(), pairs.end(), [&key](const auto& p) { return p.first == key; });
}

}  // namespace

const std::string* info::find(const std::string& key) const {
  const auto found = place_of(pairs_, key);
  return found == pairs_.end() ? nullptr : &found->second;
}

void info::set(const std::string& key, std::string value) {
  const auto found = place_of(pairs_, key);
  if (found == pairs_.end()) {
    pairs_.emplace_back(key, std::move(value));
  } else {
    pairs_[static_cast<std::size_t>(found - pairs_.begin())].second = std::move(value);
  }
}

bool info::erase(const std::string& key) {
  const auto found = place_of(pairs_, key);
  if (found == pairs_.end()) return false;
  pairs_.erase(found);
  return true;
}

namespace {

/// What MPI_INFO_ENV says of how the program was started: nothing that a program could use here.
info& environment() {
  static info* const one = new info;
  return *one;
}

std::string checked_key(const char* key) {
  require(key != nullptr && *key != '\0' && std::strlen(key) < MPI_MAX_INFO_KEY, MPI_ERR_INFO_KEY, "the key is empty or too long");
  return key;
}

}  // namespace

info& info_of(MPI_Info handle) {
  if (handle == MPI_INFO_ENV) return environment();
  if (is_predefined(handle)) fail(MPI_ERR_INFO, handle == MPI_INFO_NULL ? "the info is MPI_INFO_NULL" : "it is no info");
  return *reinterpret_cast<info*>(handle);
}

info* info_or_none(MPI_Info handle) { return handle == MPI_INFO_NULL ? nullptr : &info_of(handle); }

MPI_Info new_handle(ref<info> made) { return reinterpret_cast<MPI_Info>(made.detach()); }

P2PDVM_FUNCTION(Info_create)(MPI_Info* made) {
  return call_any_time("MPI_Info_create", [&] { *made = new_handle(ref<info>::adopt(new info)); });
}
P2PDVM_FUNCTION(Info_create_env)(int, char*[], MPI_Info* made) {
  return call_any_time("MPI_Info_create_env", [&] { *made = new_handle(ref<info>::adopt(new info(environment().pairs()))); });
}
P2PDVM_FUNCTION(Info_dup)(MPI_Info from, MPI_Info* made) {
  return call_any_time("MPI_Info_dup", [&] { *made = new_handle(ref<info>::adopt(new info(info_of(from).pairs()))); });
}
P2PDVM_FUNCTION(Info_free)(MPI_Info* handle) {
  return call_any_time("MPI_Info_free", [&] {
    require(handle != nullptr && *handle != MPI_INFO_ENV, MPI_ERR_INFO, "this info is not freed");
    info_of(*handle).release();
    *handle = MPI_INFO_NULL;
  });
}
P2PDVM_FUNCTION(Info_set)(MPI_Info handle, const char* key, const char* value) {
  return call_any_time("MPI_Info_set", [&] {
    info& of = info_of(handle);
    const std::string name = checked_key(key);
    require(value != nullptr && std::strlen(value) < MPI_MAX_INFO_VAL, MPI_ERR_INFO_VALUE, "the value is too long");
    of.set(name, value);
  });
}
P2PDVM_FUNCTION(Info_delete)(MPI_Info handle, const char* key) {
  return call_any_time("MPI_Info_delete", [&] {
    info& of = info_of(handle);
    require(of.erase(checked_key(key)), MPI_ERR_INFO_NOKEY, "there is no such key");
  });
}
P2PDVM_FUNCTION(Info_get)(MPI_Info handle, const char* key, int valuelen, char* value, int* flag) {
  return call_any_time("MPI_Info_get", [&] {
    const info& of = info_of(handle);
    const std::string* const found = of.find(checked_key(key));
    require(valuelen >= 0, MPI_ERR_ARG, "the length is negative");
    *flag = found != nullptr ? 1 : 0;
    if (found == nullptr) return;
    const std::string part = found->substr(0, static_cast<std::size_t>(valuelen));
    std::memcpy(value, part.c_str(), part.size() + 1);
  });
}
P2PDVM_FUNCTION(Info_get_string)(MPI_Info handle, const char* key, int* buflen, char* value, int* flag) {
  return call_any_time("MPI_Info_get_string", [&] {
    const info& of = info_of(handle);
    const std::string* const found = of.find(checked_key(key));
    require(*buflen >= 0, MPI_ERR_ARG, "the length is negative");
    *flag = found != nullptr ? 1 : 0;
    if (found == nullptr) return;
    if (*buflen > 0) {
      const std::string part = found->substr(0, static_cast<std::size_t>(*buflen - 1));
      std::memcpy(value, part.c_str(), part.size() + 1);
    }
    *buflen = static_cast<int>(found->size()) + 1;
  });
}
P2PDVM_FUNCTION(Info_get_valuelen)(MPI_Info handle, const char* key, int* valuelen, int* flag) {
  return call_any_time("MPI_Info_get_valuelen", [&] {
    const std::string* const found = info_of(handle).find(checked_key(key));
    *flag = found != nullptr ? 1 : 0;
    if (found != nullptr) *valuelen = static_cast<int>(found->size());
  });
}
P2PDVM_FUNCTION(Info_get_nkeys)(MPI_Info handle, int* nkeys) {
  return call_any_time("MPI_Info_get_nkeys", [&] { *nkeys = static_cast<int>(info_of(handle).pairs().size()); });
}
P2PDVM_FUNCTION(Info_get_nthkey)(MPI_Info handle, int n, char* key) {
  return call_any_time("MPI_Info_get_nthkey", [&] {
    const auto& pairs = info_of(handle).pairs();
    require(n >= 0 && static_cast<std::size_t>(n) < pairs.size(), MPI_ERR_ARG, "there are not so many keys");
    const std::string& name = pairs[static_cast<std::size_t>(n)].first;
    std::memcpy(key, name.c_str(), name.size() + 1);
  });
}

}  // namespace p2pdvm::c_mpi
