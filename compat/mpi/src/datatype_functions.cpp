/// What programs ask of datatypes, and packing by hand.
#include "call.hpp"
#include "datatype.hpp"

#include <algorithm>
#include <climits>
#include <cstring>

namespace p2pdvm::c_mpi {

namespace {

/// A number that must fit into what the program has for it.
int as_int(MPI_Count value) { return static_cast<int>(value > INT_MAX ? MPI_Count{MPI_UNDEFINED} : value); }

}  // namespace

P2PDVM_FUNCTION(Type_commit)(MPI_Datatype* type) {
  return call("MPI_Type_commit", [&] {
    require(type != nullptr, MPI_ERR_ARG, "an address is null");
    datatype_of(*type).committed = true;
  });
}

P2PDVM_FUNCTION(Type_free)(MPI_Datatype* type) {
  return call("MPI_Type_free", [&] {
    require(type != nullptr, MPI_ERR_ARG, "an address is null");
    datatype& of = datatype_of(*type);
    require(!is_predefined(*type), MPI_ERR_TYPE, "a predefined datatype is not freed");
    if (of.users() == 1 || !of.attributes.entries().empty()) delete_attributes(of.attributes, *type);
    of.release();
    *type = MPI_DATATYPE_NULL;
  });
}

P2PDVM_FUNCTION(Type_size)(MPI_Datatype type, int* size) {
  return call("MPI_Type_size", [&] { *size = as_int(datatype_of(type).size()); });
}
P2PDVM_FUNCTION(Type_size_c)(MPI_Datatype type, MPI_Count* size) {
  return call("MPI_Type_size_c", [&] { *size = datatype_of(type).size(); });
}
P2PDVM_FUNCTION(Type_size_x)(MPI_Datatype type, MPI_Count* size) {
  return call("MPI_Type_size_x", [&] { *size = datatype_of(type).size(); });
}

#define P2PDVM_BOUNDS(name, number, lower_bound, its_extent)                               \
  P2PDVM_FUNCTION(name)(MPI_Datatype type, number* lb, number* extent) {                   \
    return call("MPI_" #name, [&] {                                                        \
      const datatype& of = datatype_of(type);                                              \
      *lb = of.lower_bound();                                                              \
      *extent = of.its_extent();                                                           \
    });                                                                                    \
  }
P2PDVM_BOUNDS(Type_get_extent, MPI_Aint, lower, extent)
P2PDVM_BOUNDS(Type_get_extent_c, MPI_Count, lower, extent)
P2PDVM_BOUNDS(Type_get_extent_x, MPI_Count, lower, extent)
P2PDVM_BOUNDS(Type_get_true_extent, MPI_Aint, true_lower, true_extent)
P2PDVM_BOUNDS(Type_get_true_extent_c, MPI_Count, true_lower, true_extent)
P2PDVM_BOUNDS(Type_get_true_extent_x, MPI_Count, true_lower, true_extent)

P2PDVM_FUNCTION(Type_set_name)(MPI_Datatype type, const char* name) {
  return call("MPI_Type_set_name", [&] { datatype_of(type).name = std::string(name).substr(0, MPI_MAX_OBJECT_NAME - 1); });
}
P2PDVM_FUNCTION(Type_get_name)(MPI_Datatype type, char* name, int* length) {
  return call("MPI_Type_get_name", [&] {
    const std::string text = type == MPI_DATATYPE_NULL ? "MPI_DATATYPE_NULL" : datatype_of(type).name;
    std::memcpy(name, text.c_str(), text.size() + 1);
    *length = static_cast<int>(text.size());
  });
}

P2PDVM_FUNCTION(Get_address)(const void* location, MPI_Aint* address) {
  *address = reinterpret_cast<MPI_Aint>(location);
  return MPI_SUCCESS;
}
P2PDVM_FUNCTION_OF(MPI_Aint, Aint_add)(MPI_Aint base, MPI_Aint disp) { return base + disp; }
P2PDVM_FUNCTION_OF(MPI_Aint, Aint_diff)(MPI_Aint a, MPI_Aint b) { return a - b; }

namespace {

MPI_Datatype matching(int type_class, int size) {
  const auto pick = [size](std::initializer_list<std::pair<int, MPI_Datatype>> all) {
    for (const auto& [bytes, type] : all) {
      if (bytes == size) return type;
    }
    fail(MPI_ERR_ARG, "there is no datatype of that size");
  };
  switch (type_class) {
    case MPI_TYPECLASS_INTEGER: return pick({{1, MPI_INTEGER1}, {2, MPI_INTEGER2}, {4, MPI_INTEGER4}, {8, MPI_INTEGER8}});
    case MPI_TYPECLASS_REAL: return pick({{4, MPI_REAL4}, {8, MPI_REAL8}, {16, MPI_REAL16}});
    case MPI_TYPECLASS_COMPLEX: return pick({{8, MPI_COMPLEX8}, {16, MPI_COMPLEX16}, {32, MPI_COMPLEX32}});
    case MPIX_TYPECLASS_LOGICAL: return pick({{1, MPI_LOGICAL1}, {2, MPI_LOGICAL2}, {4, MPI_LOGICAL4}, {8, MPI_LOGICAL8}});
    default: fail(MPI_ERR_ARG, "it is no class of datatypes");
  }
}

}  // namespace

P2PDVM_FUNCTION(Type_match_size)(int typeclass, int size, MPI_Datatype* type) {
  return call("MPI_Type_match_size", [&] { *type = matching(typeclass, size); });
}

P2PDVM_FUNCTION(Type_get_value_index)(MPI_Datatype value, MPI_Datatype index, MPI_Datatype* pair) {
  return call("MPI_Type_get_value_index", [&] {
    *pair = MPI_DATATYPE_NULL;
    struct known {
      MPI_Datatype value, index, pair;
    };
    for (const known& k : {known{MPI_FLOAT, MPI_INT, MPI_FLOAT_INT}, known{MPI_DOUBLE, MPI_INT, MPI_DOUBLE_INT}, known{MPI_LONG, MPI_INT, MPI_LONG_INT},
                           known{MPI_INT, MPI_INT, MPI_2INT}, known{MPI_SHORT, MPI_INT, MPI_SHORT_INT},
                           known{MPI_LONG_DOUBLE, MPI_INT, MPI_LONG_DOUBLE_INT}, known{MPI_REAL, MPI_REAL, MPI_2REAL},
                           known{MPI_DOUBLE_PRECISION, MPI_DOUBLE_PRECISION, MPI_2DOUBLE_PRECISION}, known{MPI_INTEGER, MPI_INTEGER, MPI_2INTEGER}}) {
      if (k.value == value && k.index == index) *pair = k.pair;
    }
  });
}

// --- packing ---

namespace {

template <class Number>
void pack(const void* in, MPI_Count count, MPI_Datatype handle, void* out, MPI_Count room, Number* position, MPI_Comm comm) {
  (void)communicator_of(comm);
  const datatype& type = committed_type(handle);
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  require(*position >= 0 && type.bytes_of(count) <= room - *position, MPI_ERR_TRUNCATE, "there is not enough room in the buffer");
  type.pack(in, count, static_cast<std::byte*>(out) + *position);
  *position += static_cast<Number>(type.bytes_of(count));
}

template <class Number>
void unpack(const void* in, MPI_Count bytes, Number* position, void* out, MPI_Count count, MPI_Datatype handle, MPI_Comm comm) {
  (void)communicator_of(comm);
  const datatype& type = committed_type(handle);
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  require(*position >= 0 && type.bytes_of(count) <= bytes - *position, MPI_ERR_TRUNCATE, "the buffer does not hold so much");
  const byte_view from(static_cast<const std::byte*>(in) + *position, static_cast<std::size_t>(type.bytes_of(count)));
  type.unpack(from, out, count);
  *position += static_cast<Number>(type.bytes_of(count));
}

MPI_Count pack_size(MPI_Count count, MPI_Datatype handle, MPI_Comm comm) {
  (void)communicator_of(comm);
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  return committed_type(handle).bytes_of(count);
}

}  // namespace

P2PDVM_FUNCTION(Pack)(const void* in, int count, MPI_Datatype type, void* out, int room, int* position, MPI_Comm comm) {
  return call("MPI_Pack", [&] { pack(in, count, type, out, room, position, comm); });
}
P2PDVM_FUNCTION(Pack_c)(const void* in, MPI_Count count, MPI_Datatype type, void* out, MPI_Count room, MPI_Count* position, MPI_Comm comm) {
  return call("MPI_Pack_c", [&] { pack(in, count, type, out, room, position, comm); });
}
P2PDVM_FUNCTION(Unpack)(const void* in, int bytes, int* position, void* out, int count, MPI_Datatype type, MPI_Comm comm) {
  return call("MPI_Unpack", [&] { unpack(in, bytes, position, out, count, type, comm); });
}
P2PDVM_FUNCTION(Unpack_c)(const void* in, MPI_Count bytes, MPI_Count* position, void* out, MPI_Count count, MPI_Datatype type, MPI_Comm comm) {
  return call("MPI_Unpack_c", [&] { unpack(in, bytes, position, out, count, type, comm); });
}
P2PDVM_FUNCTION(Pack_size)(int count, MPI_Datatype type, MPI_Comm comm, int* size) {
  return call("MPI_Pack_size", [&] { *size = as_int(pack_size(count, type, comm)); });
}
P2PDVM_FUNCTION(Pack_size_c)(MPI_Count count, MPI_Datatype type, MPI_Comm comm, MPI_Count* size) {
  return call("MPI_Pack_size_c", [&] { *size = pack_size(count, type, comm); });
}

// --- packing in a form that other libraries read: big endian, with sizes that the standard lays down ---

namespace {

void check_external(const char* representation) {
  require(representation != nullptr && std::strcmp(representation, "external32") == 0, MPI_ERR_ARG,
          "the data representation is not external32");
}

bool is_long(const datatype& of) {
  return &of == &predefined_type(number_of(MPI_LONG)) || &of == &predefined_type(number_of(MPI_UNSIGNED_LONG));
}

/// Longs have four bytes there; all else has the sizes of this platform.
MPI_Count external_bytes(const datatype& of) { return is_long(of) ? 4 : of.size(); }

struct external_size {
  MPI_Count bytes = 0;
  bool operator()(const datatype& of, MPI_Count times) {
    bytes += external_bytes(of) * times;
    return true;
  }
};

MPI_Count external_size_of(const datatype& type, MPI_Count count) {
  external_size counting;
  type.each_scalar(counting);
  return counting.bytes * count;
}

/// From the form of this platform to that form, or back.
struct converting {
  const std::byte* from;
  std::byte* to;
  bool out;  ///< to that form
  bool operator()(const datatype& of, MPI_Count times) {
    const bool is_complex = of.what() == scalar::c32 || of.what() == scalar::c64 || of.what() == scalar::c80;
    const auto here = static_cast<std::size_t>(is_complex ? of.size() / 2 : of.size());
    const auto there = static_cast<std::size_t>(is_complex ? of.size() / 2 : external_bytes(of));
    for (MPI_Count i = is_complex ? 2 * times : times; i > 0; --i) {
      if (out) {
        std::reverse_copy(from, from + there, to);  // the low bytes
      } else {
        std::reverse_copy(from, from + there, to);
        const bool negative = here > there && of.what() == scalar::i64 && (to[there - 1] & std::byte{0x80}) != std::byte{};
        std::fill(to + there, to + here, negative ? std::byte{0xff} : std::byte{});
      }
      from += out ? here : there;
      to += out ? there : here;
    }
    return true;
  }
};

void convert(const datatype& type, MPI_Count count, const std::byte* from, std::byte* to, bool out) {
  converting conversion{from, to, out};
  for (MPI_Count i = 0; i < count; ++i) type.each_scalar(conversion);
}

template <class Position>
void pack_external(const char* representation, const void* in, MPI_Count count, MPI_Datatype handle, void* out, MPI_Count room, Position* position) {
  check_external(representation);
  const datatype& type = committed_type(handle);
  const MPI_Count bytes = external_size_of(type, count);
  require(*position >= 0 && bytes <= room - *position, MPI_ERR_TRUNCATE, "there is not enough room in the buffer");
  const packed all(in, count, type);
  convert(type, count, all.view().data(), static_cast<std::byte*>(out) + *position, true);
  *position += bytes;
}

template <class Position>
void unpack_external(const char* representation, const void* in, MPI_Count size, Position* position, void* out, MPI_Count count, MPI_Datatype handle) {
  check_external(representation);
  const datatype& type = committed_type(handle);
  const MPI_Count bytes = external_size_of(type, count);
  require(*position >= 0 && bytes <= size - *position, MPI_ERR_TRUNCATE, "the buffer does not hold so much");
  byte_vector all(static_cast<std::size_t>(type.bytes_of(count)));
  convert(type, count, static_cast<const std::byte*>(in) + *position, all.data(), false);
  type.unpack(all, out, count);
  *position += bytes;
}

}  // namespace

#define P2PDVM_EXTERNAL(suffix, number, distance)                                                                                        \
  P2PDVM_FUNCTION(Pack_external##suffix)(const char datarep[], const void* in, number count, MPI_Datatype type, void* out, distance room, \
                                         distance* position) {                                                                          \
    return call("MPI_Pack_external" #suffix, [&] { pack_external(datarep, in, count, type, out, room, position); });                     \
  }                                                                                                                                      \
  P2PDVM_FUNCTION(Unpack_external##suffix)(const char datarep[], const void* in, distance size, distance* position, void* out,            \
                                           number count, MPI_Datatype type) {                                                           \
    return call("MPI_Unpack_external" #suffix, [&] { unpack_external(datarep, in, size, position, out, count, type); });                 \
  }                                                                                                                                      \
  P2PDVM_FUNCTION(Pack_external_size##suffix)(const char datarep[], number count, MPI_Datatype type, distance* size) {                   \
    return call("MPI_Pack_external_size" #suffix, [&] {                                                                                  \
      check_external(datarep);                                                                                                           \
      *size = external_size_of(committed_type(type), count);                                                                             \
    });                                                                                                                                  \
  }
P2PDVM_EXTERNAL(, int, MPI_Aint)
P2PDVM_EXTERNAL(_c, MPI_Count, MPI_Count)

}  // namespace p2pdvm::c_mpi
