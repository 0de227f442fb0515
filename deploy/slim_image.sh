#!/bin/sh
# Takes out of a container image what no stage of the pipeline reads; each line says what it is and how much it saves.
#   slim_image.sh toolchains ROOT     after the Debian packages, in the same layer (ROOT is / in the image)
#   slim_image.sh python SITE         after pip, in the same layer (SITE is the site-packages folder)
set -eu
what=$1
where=${2%/}

# Keep of a folder only the named entries below it.
keep() {
    folder=$1
    shift
    for variant in "$folder"/thumb/*/*; do
        [ -d "$variant" ] || continue
        name=${variant#"$folder"/thumb/}
        case " $* " in *" $name "*) ;; *) rm -rf "$variant" ;; esac
    done
    rm -rf "$folder/arm"
}

toolchains() {
    # multilib variants of no core in deploy/targets (newlib 285 MB, libgcc 240 MB); those kept are gcc -print-multi-directory of
    # cortex-m0plus, m3, m4, m7, m33 and m55
    variants="v6-m/nofp v7-m/nofp v7e-m+fp/hard v7e-m+dp/hard v8-m.main+fp/hard v8-m.main+dp/hard"
    # shellcheck disable=SC2086  the list is words
    keep "$where/usr/lib/arm-none-eabi/newlib" $variants
    for folder in "$where"/usr/lib/gcc/arm-none-eabi/*; do
        # shellcheck disable=SC2086
        keep "$folder" $variants
        # C++ for microcontrollers (35 MB)
        rm -rf "$folder/cc1plus" "$folder/plugin" "$folder/g++-mapper-server"
    done
    # link-time optimisation, which no build asks for (220 MB)
    rm -f "$where"/usr/bin/*-lto-dump* "$where"/usr/lib/gcc/*/*/lto1 "$where"/usr/lib/gcc-cross/*/*/lto1
    # of CMake only what configures and builds (20 MB)
    rm -f "$where/usr/bin/ctest" "$where/usr/bin/cpack"
    # emulators of other processors (115 MB)
    for program in "$where"/usr/bin/qemu-*; do
        case "${program##*/}" in qemu-aarch64 | qemu-arm | qemu-system-arm) ;; *) rm -f "$program" ;; esac
    done
    # of LLVM's tools only the disassembler (40 MB)
    for program in "$where"/usr/lib/llvm-*/bin/*; do
        case "${program##*/}" in llvm-objdump) ;; *) rm -f "$program" ;; esac
    done
    # Mesa's drivers: OpenCV wants libGL at import and never draws (140 MB)
    rm -rf "$where"/usr/lib/*/dri "$where"/usr/lib/*/libLLVM-15.so*
}

python() {
    # headers to build extensions with (290 MB), test programs and test data (200 MB); torch looks for its shm manager at import
    # and compiles with its own headers (train: compile true)
    rm -rf "$where/tensorflow/include" "$where/torch/test" "$where/onnx/backend/test/data"
    find "$where/torch/bin" -mindepth 1 ! -name torch_shm_manager -delete
    for package in numpy scipy sympy networkx; do
        [ ! -d "$where/$package" ] || find "$where/$package" -type d -name tests -prune -exec rm -rf {} +
    done
    # libclang, which TensorFlow lists and does not load (60 MB)
    rm -rf "$where/clang/native"
}

"$what"
