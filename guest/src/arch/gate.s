# The gate: privileged operations for Rust code that runs at CPL3.
#
# `call gate` with the operation's address in %rax and arguments in %rdi, %rsi. int3 is half the price of
# ud2 on software KVM, because #UD first goes through KVM's instruction emulator. The operation runs at
# CPL0 on the exception slot with interrupts off and returns by iretq. Operations stay inside what KVM's
# emulator supports, touch no memory but the CPU's own area, and clobber only %rcx and %rdx.

    .section .text.entry, "ax", @progbits
    .globl gate, gate_return
    .balign 16
gate:
    int3
gate_return:
    ret

.macro OPERATION name
    .balign 16
    .globl gate_\name
gate_\name:
.endm

OPERATION invlpg
    invlpg (%rdi)
    iretq
OPERATION write_cr3
    movq %rdi, %cr3
    iretq
OPERATION read_cr3
    movq %cr3, %rdi
    iretq
OPERATION read_cr4
    movq %cr4, %rdi
    iretq
OPERATION read_msr
    movl %edi, %ecx
    rdmsr
    movl %edx, %esi
    movl %eax, %edi
    iretq
OPERATION cpuid
    movl %edi, %eax
    movl %esi, %ecx
    movq %rbx, %r8
    cpuid
    movl %eax, %edi
    movl %ebx, %esi
    movq %r8, %rbx
    shlq $32, %rsi
    orq %rsi, %rdi
    movl %ecx, %esi
    shlq $32, %rdx
    orq %rdx, %rsi
    iretq
# Sleeps unless an interrupt is pending already. The caller holds the soft mask, so the interrupt that
# ends the sleep only records itself and comes back here.
OPERATION halt
    cmpl $0, %gs:{PENDING}
    jne 1f
    sti
    hlt
1:  iretq
# Interrupts on for good: the flag in the frame is what iretq restores.
OPERATION enable_interrupts
    orq $0x200, 16(%rsp)
    iretq
OPERATION nop
    iretq
    .text
