"""Compiled passes over pairs of masks (public names: `pipeline.masks.overlap`)."""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from pipeline.masks._jit import kernel


@kernel
def list_pairs(box_xyxy_N4, area_N, image_offsets_G1, category_N, threshold, is_ios, i_P, j_P):
    """Write the candidate pairs as far as they fit; return how many there are."""
    found = 0
    for g in range(len(image_offsets_G1) - 1):
        for i in range(image_offsets_G1[g], image_offsets_G1[g + 1]):
            for j in range(i + 1, image_offsets_G1[g + 1]):
                if category_N[i] != category_N[j] or category_N[i] < 0:
                    continue
                a = area_N[i]
                b = area_N[j]
                wide = min(box_xyxy_N4[i, 2], box_xyxy_N4[j, 2]) - max(
                    box_xyxy_N4[i, 0], box_xyxy_N4[j, 0]
                )
                high = min(box_xyxy_N4[i, 3], box_xyxy_N4[j, 3]) - max(
                    box_xyxy_N4[i, 1], box_xyxy_N4[j, 1]
                )
                if wide <= 0 or high <= 0 or a <= 0 or b <= 0:
                    continue
                most = min(wide * high, min(a, b))
                whole = min(a, b) if is_ios else a + b - most
                if float(most) / float(whole) < threshold:
                    continue
                if found < len(i_P):
                    i_P[found] = i
                    j_P[found] = j
                found += 1
    return found


@kernel
def end_positions(counts_R, offsets_N1, size_hw_N2, ends_R):
    """Write where each run ends; -1, or the mask whose runs do not sum to h*w."""
    for n in range(len(offsets_N1) - 1):
        position = 0
        for r in range(offsets_N1[n], offsets_N1[n + 1]):
            position += int(counts_R[r])
            ends_R[r] = position
        if position != int(size_hw_N2[n, 0]) * int(size_hw_N2[n, 1]):
            return n
    return -1


@kernel
def first_run_after(ends_R, low, high, position):
    """First run in low..high that ends after a position."""
    while low < high:
        middle = (low + high) >> 1
        if ends_R[middle] > position:
            high = middle
        else:
            low = middle + 1
    return low


@kernel
def shared_pixels(ends_R, offsets_N1, i_P, j_P, shared_P):
    """Walk the runs of each pair from the first to the last position that both can share."""
    for p in range(len(i_P)):
        a_first = offsets_N1[i_P[p]]
        b_first = offsets_N1[j_P[p]]
        a_end = offsets_N1[i_P[p] + 1]
        b_end = offsets_N1[j_P[p] + 1]
        shared_P[p] = 0
        if a_end - a_first < 2 or b_end - b_first < 2:
            continue
        # The last foreground run of a mask is its last odd one.
        a_stop = ends_R[a_first + ((a_end - a_first) // 2) * 2 - 1]
        b_stop = ends_R[b_first + ((b_end - b_first) // 2) * 2 - 1]
        stop = min(a_stop, b_stop)
        start = max(ends_R[a_first], ends_R[b_first])
        if start >= stop:
            continue
        a = first_run_after(ends_R, a_first, a_end, start)
        b = first_run_after(ends_R, b_first, b_end, start)
        total = 0
        while start < stop:
            end = min(ends_R[a], ends_R[b])
            if (a - a_first) & (b - b_first) & 1:
                total += end - start
            start = end
            a += ends_R[a] == end
            b += ends_R[b] == end
        shared_P[p] = total
