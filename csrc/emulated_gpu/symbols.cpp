// The name of a function in the symbol table of the program or library that holds it: kernels have no exported symbols.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <deque>
#include <map>
#include <string>

#include "emulated_gpu/kernels.h"

namespace musicstar::emulated_gpu {

namespace {

struct Module {
  std::string path;
  std::uintptr_t base = 0;
};

// The object file that is mapped at `address`.
Module module_at(std::uintptr_t address) {
  struct Search {
    std::uintptr_t address;
    Module found;
  } search{address, {}};
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) {
        auto& wanted = *static_cast<Search*>(data);
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& part = info->dlpi_phdr[i];
          const std::uintptr_t start = info->dlpi_addr + part.p_vaddr;
          if (part.p_type != PT_LOAD || wanted.address < start || wanted.address >= start + part.p_memsz) continue;
          wanted.found = {info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe", info->dlpi_addr};
          return 1;
        }
        return 0;
      },
      &search);
  return search.found;
}

std::string name_in_file(const char* file, std::size_t size, std::uintptr_t value) {
  if (size < sizeof(Elf64_Ehdr) || std::memcmp(file, ELFMAG, SELFMAG) != 0 || file[EI_CLASS] != ELFCLASS64) return "";
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(file);
  if (header.e_shoff + std::uint64_t{header.e_shnum} * sizeof(Elf64_Shdr) > size) return "";
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file + header.e_shoff);
  for (int i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr& table = sections[i];
    if (table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) continue;
    if (table.sh_link >= header.e_shnum || table.sh_offset + table.sh_size > size) continue;
    const Elf64_Shdr& strings = sections[table.sh_link];
    const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file + table.sh_offset);
    for (std::size_t n = 0; n < table.sh_size / sizeof(Elf64_Sym); ++n) {
      if (symbols[n].st_value == value && ELF64_ST_TYPE(symbols[n].st_info) == STT_FUNC) {
        return file + strings.sh_offset + symbols[n].st_name;
      }
    }
  }
  return "";
}

std::string look_up(std::uintptr_t address) {
  const Module module = module_at(address);
  if (module.path.empty()) return "";
  const int descriptor = open(module.path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return "";
  struct stat status = {};
  std::string name;
  if (fstat(descriptor, &status) == 0 && status.st_size > 0) {
    const auto size = static_cast<std::size_t>(status.st_size);
    void* file = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (file != MAP_FAILED) {
      name = name_in_file(static_cast<const char*>(file), size, address - module.base);
      munmap(file, size);
    }
  }
  close(descriptor);
  return name;
}

}  // namespace

const char* symbol_at(const void* address) {
  static std::map<const void*, std::string> names;
  auto found = names.find(address);
  if (found == names.end()) {
    found = names.emplace(address, look_up(reinterpret_cast<std::uintptr_t>(address))).first;
  }
  return found->second.empty() ? nullptr : found->second.c_str();
}

}  // namespace musicstar::emulated_gpu
