"""The accuracy that this architecture is known to reach, on the real files."""

import fastbp


def test_784_128_10_passes_96_5_percent_within_3_epochs(mnist_folder):
    data = fastbp.load_dataset(mnist_folder)
    network = fastbp.Network((784, 128, 10), seed=0)
    trainer = fastbp.Trainer(network, seed=0)
    history = trainer.fit(
        data.X, data.y, epochs=3, eval_set=(data.X_test, data.y_test), progress=False
    )
    assert history.accuracy[-1] > 0.965
    assert history.train_loss[0] > history.train_loss[1] > history.train_loss[2]
