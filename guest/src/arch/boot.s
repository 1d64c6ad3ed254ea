# The way from a PVH monitor's 32-bit entry to Rust, and from SIPI to Rust for the other CPUs.
#
# Every instruction before the first CPL3 one costs about 1 us on software KVM, where ring 0 is
# interpreted: tables and descriptors are static, nothing is cleared or built here.

    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18                      # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long image_entry

# ---- 32-bit entry: paging off, %ebx = PVH start info ----
    .section .text.boot, "ax", @progbits
    .code32
    .globl pvh_start
pvh_start:
    cld
    lgdtl boot_gdtr32 - {IMAGE_OFFSET}
    movl $0x620, %eax                   # PAE, OSFXSR, OSXMMEXCPT
    movl %eax, %cr4
    movl $(boot_pml4 - {IMAGE_OFFSET}), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx              # EFER: LME, NXE
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax              # PG, WP, NE, ET, MP, PE
    movl %eax, %cr0
    ljmpl $0x10, $(start64_low - {IMAGE_OFFSET})

    .code64
start64_low:
    movq $start64, %rax
    jmpq *%rax

start64:
    lgdt boot_gdtr64                    # by its high address: the low one goes with the boot tables
    movl $0x18, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    lidt boot_idtr
    movl $0x40, %eax
    ltr %ax
    movl $0xc0000101, %ecx              # GS base: this CPU's area
    movq $percpu0, %rax
    movl $-1, %edx                      # the image is in the top 2 GiB
    wrmsr
    movl %ebx, %edi                     # PVH start info, for Rust

# How long does ring 0 take? One fast pass is proof. A slow one is not: the host may have run something else
# meanwhile, so only slowness that repeats counts.
    movl ${PROBE_PASSES}, %r8d
1:  rdtsc
    movl %eax, %r9d
    movl ${PROBE_ITERATIONS}, %ecx
2:  decl %ecx
    jnz 2b
    rdtsc
    subl %r9d, %eax
    cmpl ${PROBE_LIMIT}, %eax
    jbe 4f
    decl %r8d
    jnz 1b
4:
    movl %eax, %esi                     # TSC units of the probe, for Rust
    xorl %ebp, %ebp
    cmpl ${PROBE_LIMIT}, %eax
    ja 3f

    movq $boot_stack_top, %rsp
    xorl %edx, %edx                     # ring 0
    call start_rust
    ud2

3:  movl $3, %edx                       # ring 3
    movq $boot_stack_top - 8, %rsp      # as if by a call
    pushq $0x2b
    pushq $boot_stack_top - 8
    pushq $0x3002                       # IOPL 3, interrupts off until the IDT stands
    pushq $0x33
    pushq $start_rust
    iretq

# ---- drop_to_ring3: from Rust at CPL0 to the same Rust at CPL3 ----
    .section .text.entry, "ax", @progbits
    .globl drop_to_ring3
drop_to_ring3:
    popq %rax
    movq %rsp, %rcx
    pushq $0x2b
    pushq %rcx
    pushq $0x3002
    pushq $0x33
    pushq %rax
    iretq

# ---- application processors: SIPI starts them here, in real mode, at the copy of this code ----
    .section .rodata.trampoline, "a", @progbits
    .globl ap_trampoline, ap_trampoline_end
    .code16
ap_trampoline:
    cli
    cld
    movw %cs, %ax
    movw %ax, %ds
    lgdtl ap_gdtr - ap_trampoline
    movl $0x620, %eax
    movl %eax, %cr4
    movl $(boot_pml4 - {IMAGE_OFFSET}), %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl $0x80010033, %eax
    movl %eax, %cr0
    ljmpl $0x10, $(ap64_low - {IMAGE_OFFSET})
    .balign 8
ap_gdtr:
    .word {GDT_BYTES} - 1
    .long boot_gdt - {IMAGE_OFFSET}
ap_trampoline_end:

    .section .text.boot, "ax", @progbits
    .code64
ap64_low:
    movq $ap64, %rax
    jmpq *%rax
ap64:
    lgdt boot_gdtr64
    movl $0x18, %eax
    movl %eax, %ss
    movl %eax, %ds
    movl %eax, %es
    lidt boot_idtr
    movl ap_boot_tr, %eax
    ltr %ax
    movq ap_boot_root, %rax             # the kernel's tables: stacks may lie outside the boot tables
    movq %rax, %cr3
    movl $0xc0000101, %ecx
    movl ap_boot_percpu, %eax
    movl ap_boot_percpu + 4, %edx
    wrmsr
    movq ap_boot_stack, %rsp
    xorl %ebp, %ebp
    cmpl $0, ap_boot_ring
    jne 1f
    call start_ap
    ud2
1:  movq %rsp, %rax
    subq $8, %rax
    pushq $0x2b
    pushq %rax
    pushq $0x3002
    pushq $0x33
    pushq $start_ap
    iretq

# ---- static tables; accessed and dirty from the start, see memory/boot.rs ----
    .section .data.page_aligned, "aw", @progbits
    .balign 4096
    .globl boot_pml4
boot_pml4:                              # identity, direct map and image all show the first GiB
    .quad boot_pdpt_low - {IMAGE_OFFSET} + 0x27
    .fill {DIRECT_MAP_SLOT} - 1, 8, 0
    .quad boot_pdpt_low - {IMAGE_OFFSET} + 0x27
    .fill 511 - {DIRECT_MAP_SLOT} - 1, 8, 0
    .quad boot_pdpt_high - {IMAGE_OFFSET} + 0x27
boot_pdpt_low:
    .quad boot_pd - {IMAGE_OFFSET} + 0x27
    .fill 511, 8, 0
boot_pdpt_high:
    .fill 510, 8, 0
    .quad boot_pd - {IMAGE_OFFSET} + 0x27
    .quad boot_pd_fixmap - {IMAGE_OFFSET} + 0x27
boot_pd:
    .set page, 0
    .rept 512
    .quad page + 0xe7
    .set page, page + 0x200000
    .endr
boot_pd_fixmap:
    .fill {FIXMAP_PD_SLOT}, 8, 0
    .quad boot_pt_fixmap - {IMAGE_OFFSET} + 0x27
    .fill 511 - {FIXMAP_PD_SLOT}, 8, 0
boot_pt_fixmap:
    .fill {IOAPIC_PT_SLOT}, 8, 0
    .quad {IOAPIC_PHYS} + 0x7f
    .quad {LAPIC_PHYS} + 0x7f
    .quad 0, 0

    .globl boot_idt
    .balign 4096
boot_idt:
    .fill 512, 8, 0

    .globl boot_gdt
    .balign 16
boot_gdt:                               # at CPL3 only 0x33 and 0x2b exist on software KVM
    .quad 0, 0
    .quad 0x00af9b000000ffff            # 0x10 CPL0 code
    .quad 0x00cf93000000ffff            # 0x18 CPL0 data
    .quad 0x00cffb000000ffff            # 0x20 CPL3 32-bit code
    .quad 0x00cff3000000ffff            # 0x28 CPL3 data
    .quad 0x00affb000000ffff            # 0x30 CPL3 code
    .quad 0x00cf9b000000ffff            # 0x38 CPL0 32-bit code
    .word {TSS_LIMIT}                   # 0x40 TSS of CPU 0
    .word tss0_low16
    .byte tss0_mid8, 0x89, 0, tss0_high8
    .long 0xffffffff, 0
    .fill {GDT_BYTES} - 80, 1, 0
    .globl percpu_tss_offset
    .set percpu_tss_offset, {TSS_OFFSET}

boot_gdtr32:
    .word {GDT_BYTES} - 1
    .long boot_gdt - {IMAGE_OFFSET}
    .balign 8
boot_gdtr64:
    .word {GDT_BYTES} - 1
    .quad boot_gdt
    .balign 8
boot_idtr:
    .word 4095
    .quad boot_idt

    .balign 8
    .globl ap_boot_tr, ap_boot_percpu, ap_boot_stack, ap_boot_ring, ap_boot_root
ap_boot_percpu: .quad 0
ap_boot_stack: .quad 0
ap_boot_root: .quad 0
ap_boot_tr: .long 0
ap_boot_ring: .long 0

    .section .bss.page_aligned, "aw", @nobits
    .balign 4096
    .globl boot_stack_guard, boot_stack_bottom, boot_stack_top
boot_stack_guard:                       # not mapped by the kernel's own tables
    .skip 4096
boot_stack_bottom:
    .skip {BOOT_STACK_BYTES}
boot_stack_top:
    .text
