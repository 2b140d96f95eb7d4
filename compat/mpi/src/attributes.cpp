#include "attributes.hpp"

#include "call.hpp"
#include "datatype.hpp"
#include "message_arguments.hpp"

#include <algorithm>
#include <map>

namespace p2pdvm::c_mpi {

namespace {

/// Keys of programs by number, also those that were freed while attributes have them. Numbers are never used again.
struct all_keys {
  std::map<int, keyval*> living;
  int next = 0x1000;
};
all_keys& keys() {
  static all_keys* const all = new all_keys;
  return *all;
}

bool is_value(void (*function)(), std::uintptr_t value) { return reinterpret_cast<std::uintptr_t>(function) == value; }
constexpr std::uintptr_t null_function = 0, dup_function = 1;

template <class Handle>
struct functions;
template <>
struct functions<MPI_Comm> {
  using copy = MPI_Comm_copy_attr_function;
  using remove = MPI_Comm_delete_attr_function;
};
template <>
struct functions<MPI_Datatype> {
  using copy = MPI_Type_copy_attr_function;
  using remove = MPI_Type_delete_attr_function;
};

/// The program's function of an entry that goes.
template <class Handle>
void tell_deleted(Handle handle, const attribute_list::entry& e) {
  if (is_value(e.key->remove, null_function)) return;
  auto* const function = reinterpret_cast<typename functions<Handle>::remove*>(e.key->remove);
  if (const int code = function(handle, e.key->number, e.value, e.key->extra); code != MPI_SUCCESS)
    fail(code, "the function that deletes the attribute says so");
}

}  // namespace

keyval::keyval(of what, void (*copy_function)(), void (*delete_function)(), void* state)
    : owner(what), copy(copy_function), remove(delete_function), extra(state), number(keys().next++) {
  keys().living[number] = this;
}

keyval::~keyval() { keys().living.erase(number); }

keyval& keyval_of(int number, keyval::of owner) {
  const auto found = keys().living.find(number);
  require(found != keys().living.end() && found->second->owner == owner, MPI_ERR_KEYVAL, "it is no key of attributes of such objects");
  return *found->second;
}

template <class Handle>
void set_attribute(attribute_list& list, Handle handle, keyval& key, void* value) {
  if (attribute_list::entry* const e = list.find(key)) {
    tell_deleted(handle, *e);
    e->value = value;
    return;
  }
  list.entries().push_back({ref<keyval>(key), value});
}

template <class Handle>
void delete_attribute(attribute_list& list, Handle handle, keyval& key) {
  attribute_list::entry* const e = list.find(key);
  require(e != nullptr, MPI_ERR_KEYVAL, "there is no such attribute");
  tell_deleted(handle, *e);
  std::erase_if(list.entries(), [&key](const attribute_list::entry& other) { return other.key.get() == &key; });
}

template <class Handle>
void delete_attributes(attribute_list& list, Handle handle) {
  while (!list.entries().empty()) {
    const attribute_list::entry last = list.entries().back();
    tell_deleted(handle, last);
    std::erase_if(list.entries(), [&last](const attribute_list::entry& e) { return e.key.get() == last.key.get(); });
  }
}

template <class Handle>
void copy_attributes(attribute_list& from, Handle old, attribute_list& to) {
  const std::vector<attribute_list::entry> before = from.entries();
  for (const attribute_list::entry& e : before) {
    if (is_value(e.key->copy, null_function)) continue;
    void* value = e.value;
    int flag = 1;
    if (!is_value(e.key->copy, dup_function)) {
      auto* const function = reinterpret_cast<typename functions<Handle>::copy*>(e.key->copy);
      flag = 0;
      if (const int code = function(old, e.key->number, e.key->extra, e.value, &value, &flag); code != MPI_SUCCESS)
        fail(code, "the function that copies the attribute says so");
    }
    if (flag != 0) to.entries().push_back({e.key, value});
  }
}

template void set_attribute(attribute_list&, MPI_Comm, keyval&, void*);
template void delete_attribute(attribute_list&, MPI_Comm, keyval&);
template void delete_attributes(attribute_list&, MPI_Comm);
template void copy_attributes(attribute_list&, MPI_Comm, attribute_list&);
template void set_attribute(attribute_list&, MPI_Datatype, keyval&, void*);
template void delete_attribute(attribute_list&, MPI_Datatype, keyval&);
template void delete_attributes(attribute_list&, MPI_Datatype);
template void copy_attributes(attribute_list&, MPI_Datatype, attribute_list&);

namespace {

template <class Copy, class Remove>
int create(keyval::of owner, Copy* copy, Remove* remove, void* state) {
  auto* const made = new keyval(owner, reinterpret_cast<void (*)()>(copy), reinterpret_cast<void (*)()>(remove), state);
  return made->number;
}

void free_key(int* number, keyval::of owner) {
  require(number != nullptr, MPI_ERR_ARG, "an address is null");
  keyval& key = keyval_of(*number, owner);
  *number = MPI_KEYVAL_INVALID;
  if (!std::exchange(key.freed, true)) key.release();
}

/// Of the world, at addresses that stay.
const int* standard_attribute(int key) {
  static const int tag_bound = tag_max, io = MPI_ANY_SOURCE, host = MPI_PROC_NULL, no = 0;
  static int last_code = 0, universe = 0;
  switch (key) {
    case MPI_TAG_UB: return &tag_bound;
    case MPI_IO: return &io;
    case MPI_HOST: return &host;
    case MPI_WTIME_IS_GLOBAL: return &no;
    case MPI_APPNUM: return &no;
    case MPI_LASTUSEDCODE: last_code = last_error_code(); return &last_code;
    case MPI_UNIVERSE_SIZE: universe = here().world_size(); return &universe;
    default: return nullptr;
  }
}

void get(MPI_Comm comm, communicator& c, int key, void* value, int* flag) {
  (void)comm;
  require(value != nullptr && flag != nullptr, MPI_ERR_ARG, "an address is null");
  if (const int* const standard = standard_attribute(key)) {
    *flag = 1;
    *static_cast<const void**>(value) = standard;
    return;
  }
  const attribute_list::entry* const found = c.attributes.find(keyval_of(key, keyval::of::communicator));
  *flag = found != nullptr ? 1 : 0;
  if (found != nullptr) *static_cast<void**>(value) = found->value;
}

void set(MPI_Comm comm, communicator& c, int key, void* value) {
  require(standard_attribute(key) == nullptr, MPI_ERR_KEYVAL, "this attribute cannot be changed");
  set_attribute(c.attributes, comm, keyval_of(key, keyval::of::communicator), value);
}

void remove(MPI_Comm comm, communicator& c, int key) {
  require(standard_attribute(key) == nullptr, MPI_ERR_KEYVAL, "this attribute cannot be deleted");
  delete_attribute(c.attributes, comm, keyval_of(key, keyval::of::communicator));
}

}  // namespace

P2PDVM_FUNCTION(Comm_create_keyval)(MPI_Comm_copy_attr_function* copy, MPI_Comm_delete_attr_function* remove_function, int* key, void* state) {
  return call_any_time("MPI_Comm_create_keyval", [&] { *key = create(keyval::of::communicator, copy, remove_function, state); });
}
P2PDVM_FUNCTION(Keyval_create)(MPI_Copy_function* copy, MPI_Delete_function* remove_function, int* key, void* state) {
  return call_any_time("MPI_Keyval_create", [&] { *key = create(keyval::of::communicator, copy, remove_function, state); });
}
P2PDVM_FUNCTION(Type_create_keyval)(MPI_Type_copy_attr_function* copy, MPI_Type_delete_attr_function* remove_function, int* key, void* state) {
  return call_any_time("MPI_Type_create_keyval", [&] { *key = create(keyval::of::datatype, copy, remove_function, state); });
}
P2PDVM_FUNCTION(Comm_free_keyval)(int* key) {
  return call_any_time("MPI_Comm_free_keyval", [&] { free_key(key, keyval::of::communicator); });
}
P2PDVM_FUNCTION(Keyval_free)(int* key) {
  return call_any_time("MPI_Keyval_free", [&] { free_key(key, keyval::of::communicator); });
}
P2PDVM_FUNCTION(Type_free_keyval)(int* key) {
  return call_any_time("MPI_Type_free_keyval", [&] { free_key(key, keyval::of::datatype); });
}
P2PDVM_FUNCTION(Comm_get_attr)(MPI_Comm comm, int key, void* value, int* flag) {
  return call_on(comm, "MPI_Comm_get_attr", [&](communicator& c) { get(comm, c, key, value, flag); });
}
P2PDVM_FUNCTION(Attr_get)(MPI_Comm comm, int key, void* value, int* flag) {
  return call_on(comm, "MPI_Attr_get", [&](communicator& c) { get(comm, c, key, value, flag); });
}
P2PDVM_FUNCTION(Comm_set_attr)(MPI_Comm comm, int key, void* value) {
  return call_on(comm, "MPI_Comm_set_attr", [&](communicator& c) { set(comm, c, key, value); });
}
P2PDVM_FUNCTION(Attr_put)(MPI_Comm comm, int key, void* value) {
  return call_on(comm, "MPI_Attr_put", [&](communicator& c) { set(comm, c, key, value); });
}
P2PDVM_FUNCTION(Comm_delete_attr)(MPI_Comm comm, int key) {
  return call_on(comm, "MPI_Comm_delete_attr", [&](communicator& c) { remove(comm, c, key); });
}
P2PDVM_FUNCTION(Attr_delete)(MPI_Comm comm, int key) {
  return call_on(comm, "MPI_Attr_delete", [&](communicator& c) { remove(comm, c, key); });
}
P2PDVM_FUNCTION(Type_get_attr)(MPI_Datatype type, int key, void* value, int* flag) {
  return call("MPI_Type_get_attr", [&] {
    const attribute_list::entry* const found = datatype_of(type).attributes.find(keyval_of(key, keyval::of::datatype));
    *flag = found != nullptr ? 1 : 0;
    if (found != nullptr) *static_cast<void**>(value) = found->value;
  });
}
P2PDVM_FUNCTION(Type_set_attr)(MPI_Datatype type, int key, void* value) {
  return call("MPI_Type_set_attr", [&] { set_attribute(datatype_of(type).attributes, type, keyval_of(key, keyval::of::datatype), value); });
}
P2PDVM_FUNCTION(Type_delete_attr)(MPI_Datatype type, int key) {
  return call("MPI_Type_delete_attr", [&] { delete_attribute(datatype_of(type).attributes, type, keyval_of(key, keyval::of::datatype)); });
}

}  // namespace p2pdvm::c_mpi
