#pragma once

#include <p2pdvm/peal/bsp/record.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>

namespace p2pdvm::bsp::detail {

P2PDVM_DECL std::string text_of(const place& where) {
  return std::string(peal::file_part(where.file)) + ":" + std::to_string(where.line);
}

P2PDVM_DECL void append_record(byte_vector& out, const record_head& head, byte_view data, byte_view more) {
  append(out, bytes_of(head));
  append(out, data);
  append(out, more);
  out.resize((out.size() + alignment - 1) / alignment * alignment);
}

P2PDVM_DECL std::vector<record> records_of(byte_view message, std::size_t offset) {
  std::vector<record> all;
  while (offset < message.size()) {
    record r;
    if (message.size() - offset < sizeof r.head)
      peal::detail::throw_misuse("a message of a superstep is damaged");
    std::memcpy(&r.head, message.data() + offset, sizeof r.head);
    r.data = offset + sizeof r.head;
    const std::uint64_t bytes = r.head.kind == record_kind::get ? 0 : r.head.bytes;
    const std::size_t room = message.size() - r.data;
    if (room / alignment * alignment < bytes)
      peal::detail::throw_misuse("a message of a superstep is damaged");
    offset = r.data + (static_cast<std::size_t>(bytes) + alignment - 1) / alignment * alignment;
    all.push_back(r);
  }
  return all;
}

}  // namespace p2pdvm::bsp::detail
