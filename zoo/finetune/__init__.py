"""Fine-tune: from a recipe to a run to a checkpoint.

What imports what, from the top down:

run          prepare, probe, train, blend, conclude; and resume where a run was cut off
conclude     measure on the test images and publish
average      the mean of the weights of several fine-tunes
calibration  what the validation images tell of its answers
strategies/  what comes before and after training: probes, the choice of a depth, blends
loop/        train: forward, backward, step, average; evaluate, keep the best, save the state
preflight    what can be refused before torch is imported
features/    cached activations at a cut, and loaders that give images or these
results/     what a run leaves beside its checkpoint: journal, provenance, intervals, pictures, card
setup/       recipe, base and data become a network, a loss and an optimizer
dataset/     images with targets: listed, checked, split, read in batches
ranks/       the processes that train one network together
"""
