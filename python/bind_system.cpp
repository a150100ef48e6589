// What the machine and the build offer, and the functions without state: mu-law and uniforms.
#include "arguments.h"
#include "module.h"
#include "musicstar/cuda_devices.h"
#include "musicstar/isa.h"
#include "musicstar/mu_law.h"
#include "musicstar/philox.h"

namespace musicstar::bindings {

void bind_system(py::module_& module) {
  module.def("supported_isas", [] {
    std::vector<std::string> names;
    for (const cpu::Isa isa : cpu::supported_isas()) names.emplace_back(cpu::name_of(isa));
    return names;
  });
  module.def("active_isa", [] { return std::string(cpu::name_of(cpu::select_isa())); });

  module.def("cuda_build", &cuda::build_description);
  module.def("cuda_devices", [] {
    py::list devices;
    for (const cuda::Device& device : cuda::devices()) {
      py::dict entry;
      entry["index"] = device.index;
      entry["name"] = device.name;
      entry["compute_capability"] = std::to_string(device.major) + "." + std::to_string(device.minor);
      entry["memory_bytes"] = device.memory_bytes;
      entry["emulated"] = device.emulated;
      devices.append(entry);
    }
    return devices;
  });

  module.def(
      "mu_law_encode",
      [](const py::array& audio) {
        const std::int64_t n = check_array<float>(audio, "audio", {-1})[0];
        py::array_t<std::uint8_t> codes(n);
        const float* in = data_of<float>(audio);
        std::uint8_t* out = codes.mutable_data();
        const py::gil_scoped_release released;
        for (std::int64_t i = 0; i < n; ++i) out[i] = mu_law_encode(in[i]);
        return codes;
      },
      py::arg("audio"));
  module.def(
      "mu_law_decode",
      [](const py::array& codes) {
        const std::int64_t n = check_array<std::uint8_t>(codes, "codes", {-1})[0];
        float table[256];
        for (int code = 0; code < 256; ++code) table[code] = mu_law_decode(static_cast<std::uint8_t>(code));
        py::array_t<float> audio(n);
        const std::uint8_t* in = data_of<std::uint8_t>(codes);
        float* out = audio.mutable_data();
        for (std::int64_t i = 0; i < n; ++i) out[i] = table[in[i]];
        return audio;
      },
      py::arg("codes"));

  module.def(
      "philox_uniforms",
      [](std::uint64_t seed, std::uint64_t lane, std::uint64_t first, std::int64_t count) {
        if (count < 0 || count > (std::int64_t{1} << 40)) throw py::value_error("count is out of range");
        py::array_t<float> uniforms(count);
        float* out = uniforms.mutable_data();
        const py::gil_scoped_release released;
        for (std::int64_t i = 0; i < count; ++i)
          out[i] = philox_uniform(seed, lane, first + static_cast<std::uint64_t>(i));
        return uniforms;
      },
      py::arg("seed"), py::arg("lane"), py::arg("first"), py::arg("count"));
}

}  // namespace musicstar::bindings
